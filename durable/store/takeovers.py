"""Runs that have lost their worker, because it died, hung, or no longer executes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from durable.core.runs import RunKey
from durable.core.suspicion import ALONE_STRIKES, PAUSE, SOLE_STRIKES, SUSPECT_STRIKES
from durable.store.channels import announce_ended, announce_event, announce_runs_to_all
from durable.store.children import EndedChild, announce_told, ended_child, tell_parents
from durable.store.columns import column
from durable.store.operation import operation
from durable.store.sequels import Sequel, SequelOf, announce_sequels, begin_sequels, ended_runs, sequels_of
from durable.store.statement import Begin, Commit, Query, Requests, RunId, Statement, one
from durable.store.successors import reopen_next

MAX_COMPANIONS = 11
"""How many of the runs that a worker died with are looked at: one more than are named in the row of a run."""


class TakenOver(msgspec.Struct, frozen=True):
    """What happened to the runs that were lost, by their ids: suspects are tried apart from others, after a pause.
    ``are_left``: there are runs of the same worker that could not be taken over, because they were locked or because
    there were more than the limit."""

    queued: tuple[str, ...]
    suspects: tuple[str, ...]
    failed: tuple[str, ...]
    children: tuple[EndedChild, ...]
    are_left: bool = False

    @property
    def count(self) -> int:
        return len(self.queued) + len(self.suspects) + len(self.failed)


class _TakenOverRow(msgspec.Struct, frozen=True):
    run_id: str
    status: Literal["queued", "sleeping", "failed"]
    error: str | None
    parent_shard: str | None
    parent_run_id: str | None


class _Left(msgspec.Struct, frozen=True):
    are_left: bool


class _Owner(msgspec.Struct, frozen=True):
    worker_id: str


_TAKE_OVER_RUNS = Query("takeovers/take_over_runs", _TakenOverRow)
_OWNED_RUNS = Query("takeovers/owned_runs", RunId)
_OWNS_RUNS = Query("takeovers/owns_runs", _Left)
_ORPHAN_OWNERS = Query("takeovers/orphan_owners", _Owner)


@operation
def take_over(
    shard_value: str,
    owner: str,
    limit: int,
    *,
    max_strikes: int,
    held: Sequence[str] = (),
    companions: Sequence[str] = (),
    culprits: Sequence[str] = (),
    is_death: bool = True,
    sequel_of: SequelOf | None = None,
) -> Requests[TakenOver]:
    """Frees up to ``limit`` runs of a dead worker, or those runs of a living one that are not in ``held``.

    ``is_death``: the worker died with its runs; ``companions`` are the keys of some of them, under whatever shard
    value. ``culprits`` are runs that broke a living worker. After ``max_strikes`` lone strikes without a new memo in
    between, a run fails with ``CrashLoop``; ``sequel_of`` returns what begins then, and is ``None`` if nothing does.
    Parents, workers and clients that wait for a result are notified.
    """
    taken: TakenOver
    taken, are_left = yield from Begin(
        [
            take_over_runs(
                shard_value,
                owner,
                limit,
                max_strikes=max_strikes,
                held=held,
                companions=companions,
                culprits=culprits,
                is_death=is_death,
            ),
            owns_runs(shard_value, owner),
        ]
    )
    freed = [announce_runs_to_all(shard_value)] if taken.queued or taken.suspects else []
    sequels: list[Sequel] = []
    next_ones: list[Statement[Any]] = []
    told = [*announce_ended(taken.failed), *announce_told(taken.children), *freed]
    if taken.failed:
        next_ones = [reopen_next(shard_value, taken.failed)]
        told.append(announce_event(shard_value))
        if sequel_of is not None:
            sequels = sequels_of((yield from ended_runs(shard_value, taken.failed)), sequel_of)
            told += announce_sequels(sequels)
    yield from Commit([*tell_parents(taken.children), *begin_sequels(sequels), *next_ones], then=told)
    return msgspec.structs.replace(taken, are_left=are_left)


def take_over_runs(
    shard_value: str,
    owner: str,
    limit: int,
    *,
    max_strikes: int,
    held: Sequence[str] = (),
    companions: Sequence[str] = (),
    culprits: Sequence[str] = (),
    is_death: bool = True,
) -> Statement[TakenOver]:
    """The first statement of ``take_over``."""
    return _TAKE_OVER_RUNS.statement(
        {
            "shard_value": shard_value,
            "owner": owner,
            "limit": limit,
            "held": column(held),
            "companions": column(companions),
            "culprits": column(culprits),
            "is_death": int(is_death),
            "max_strikes": max_strikes,
            "suspect_strikes": SUSPECT_STRIKES,
            "alone_strikes": ALONE_STRIKES,
            "sole_strikes": SOLE_STRIKES,
            "pause": PAUSE.base,
            "max_pause": PAUSE.maximum,
            "crash_loop": crash_loop(max_strikes),
        },
        _taken_over,
    )


def crash_loop(strikes: int) -> str:
    """Returns what is said of a run that fails because of that many lone strikes."""
    return (
        f"{strikes} workers died or gave up while they executed this run apart from others, and "
        "none recorded a new memo; find out what ended them, then retry the run"
    )


def _taken_over(rows: Sequence[_TakenOverRow]) -> TakenOver:
    return TakenOver(
        queued=tuple(row.run_id for row in rows if row.status == "queued"),
        suspects=tuple(row.run_id for row in rows if row.status == "sleeping"),
        failed=tuple(row.run_id for row in rows if row.status == "failed"),
        children=tuple(
            ended_child(RunKey(row.parent_shard, row.parent_run_id), row.run_id, "failed", error=row.error)
            for row in rows
            if row.status == "failed" and row.parent_shard is not None and row.parent_run_id is not None
        ),
    )


def owned_runs(shard_value: str, owner: str) -> Statement[list[str]]:
    """Reads the keys of some runs of that worker: none, if it has none under that shard value."""
    return _OWNED_RUNS.statement(
        {"shard_value": shard_value, "owner": owner, "limit": MAX_COMPANIONS},
        lambda rows: [str(RunKey(shard_value, row.run_id)) for row in rows],
    )


def owns_runs(shard_value: str, owner: str) -> Statement[bool]:
    """Answers whether runs of that worker are left."""
    return _OWNS_RUNS.statement({"shard_value": shard_value, "owner": owner}, lambda rows: one(rows).are_left)


def orphan_owners(shard_value: str) -> Statement[list[str]]:
    """Reads the owners of running runs for which there is no row in ``workers``."""
    return _ORPHAN_OWNERS.statement({"shard_value": shard_value}, lambda rows: [row.worker_id for row in rows])
