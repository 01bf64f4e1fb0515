"""Runs that have lost their worker, because it died, hung, or no longer executes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from durable.core.failures import ErrorInfo
from durable.core.runs import RunKey
from durable.store.channels import announce_ended, announce_runs_to_all
from durable.store.children import EndedChild, announce_told, ended_child, tell_parents
from durable.store.columns import column
from durable.store.operation import operation
from durable.store.statement import Begin, Commit, Query, Requests, Statement, one


class TakenOver(msgspec.Struct, frozen=True):
    """What happened to the runs that were lost: their ids by their new status. ``are_left``: there are runs of the same
    worker that could not be taken over, because they were locked or because there were more than the limit."""

    queued: tuple[str, ...]
    failed: tuple[str, ...]
    children: tuple[EndedChild, ...]
    are_left: bool = False

    @property
    def count(self) -> int:
        return len(self.queued) + len(self.failed)


class _TakenOverRow(msgspec.Struct, frozen=True):
    run_id: str
    status: Literal["queued", "failed"]
    parent_shard: str | None
    parent_run_id: str | None


class _Left(msgspec.Struct, frozen=True):
    are_left: bool


class _Owner(msgspec.Struct, frozen=True):
    worker_id: str


_TAKE_OVER_RUNS = Query("takeovers/take_over_runs", _TakenOverRow)
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
    is_strike: bool = True,
) -> Requests[TakenOver]:
    """Frees up to ``limit`` runs of a dead worker, or those runs of a living one that are not in ``held``.

    After ``max_strikes`` strikes without a new memo in between, a run fails with ``CrashLoop``. Parents, workers and
    clients that wait for a result are notified.
    """
    taken: TakenOver
    taken, are_left = yield from Begin(
        [
            take_over_runs(shard_value, owner, limit, max_strikes=max_strikes, held=held, is_strike=is_strike),
            owns_runs(shard_value, owner),
        ]
    )
    freed = [announce_runs_to_all(shard_value)] if taken.queued else []
    told = [*announce_ended(taken.failed), *announce_told(taken.children), *freed]
    yield from Commit(tell_parents(taken.children), then=told)
    return msgspec.structs.replace(taken, are_left=are_left)


def take_over_runs(
    shard_value: str,
    owner: str,
    limit: int,
    *,
    max_strikes: int,
    held: Sequence[str] = (),
    is_strike: bool = True,
) -> Statement[TakenOver]:
    """The first statement of ``take_over``."""
    crash_loop = ErrorInfo(
        "CrashLoop",
        f"{max_strikes} workers in a row died or gave up while they executed this run, and none recorded a new memo; "
        "find out what ended them, then retry the run",
    ).text

    def read(rows: Sequence[_TakenOverRow]) -> TakenOver:
        failed = [row for row in rows if row.status == "failed"]
        return TakenOver(
            queued=tuple(row.run_id for row in rows if row.status == "queued"),
            failed=tuple(row.run_id for row in failed),
            children=tuple(
                ended_child(RunKey(row.parent_shard, row.parent_run_id), row.run_id, "failed", error=crash_loop)
                for row in failed
                if row.parent_shard is not None and row.parent_run_id is not None
            ),
        )

    return _TAKE_OVER_RUNS.statement(
        {
            "shard_value": shard_value,
            "owner": owner,
            "limit": limit,
            "held": column(held),
            "strike": int(is_strike),
            "max_strikes": max_strikes,
            "crash_loop": crash_loop,
        },
        read,
    )


def owns_runs(shard_value: str, owner: str) -> Statement[bool]:
    """Answers whether runs of that worker are left."""
    return _OWNS_RUNS.statement({"shard_value": shard_value, "owner": owner}, lambda rows: one(rows).are_left)


def orphan_owners(shard_value: str) -> Statement[list[str]]:
    """Reads the owners of running runs for which there is no row in ``workers``."""
    return _ORPHAN_OWNERS.statement({"shard_value": shard_value}, lambda rows: [row.worker_id for row in rows])
