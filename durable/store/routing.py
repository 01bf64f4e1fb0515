"""Events on their way to runs, and runs that will be retried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from durable.core.runs import RunKey
from durable.store.children import EndedChild, complete_children, ended_child
from durable.store.columns import column
from durable.store.operation import operation
from durable.store.records import Event, EventKind
from durable.store.statement import (
    Batch,
    Begin,
    Commit,
    NoRow,
    Query,
    Requests,
    RunId,
    Statement,
    nothing,
    one,
    run_ids,
)

MAX_SEEN = 2000
"""How many runs with events a statement looks at. Must be more than are routed at a time."""


class Routed(msgspec.Struct, frozen=True):
    """What a pass of routing did: the events of runs that this worker is executing now, how many parked runs woke, the
    ids of the runs that it ended, and the children among the latter, whose parents must be notified in the same
    transaction."""

    live: tuple[Event, ...] = ()
    woken: int = 0
    ended: tuple[str, ...] = ()
    children: tuple[EndedChild, ...] = ()


class Unrouted(msgspec.Struct, frozen=True):
    """What routing left behind: events and requests of runs that were locked, requests to retry runs, what is to happen
    after the ends of runs that have ended, more runs than it looks at, so that some of them may not exist, and requests
    to change when runs go on."""

    is_more: bool
    is_retry: bool
    is_next: bool
    is_crowded: bool = False
    is_reschedule: bool = False


class RetriedRun(msgspec.Struct, frozen=True):
    """A run that was queued again, and its new epoch. ``was_set_aside``: it had not ended."""

    run_id: str
    epoch: int
    was_set_aside: bool


class _ArrivedRow(msgspec.Struct, frozen=True):
    """An event, and the new status of its run: ``None`` if that is unchanged."""

    run_id: str
    event_id: str
    kind: EventKind
    name: str
    payload: str
    is_live: bool
    became: Literal["queued", "sleeping", "paused", "cancelled"] | None
    error: str | None
    parent_shard: str | None
    parent_run_id: str | None


_ROUTE_EVENTS = Query("routing/route_events", _ArrivedRow)
_UNROUTED_EVENTS = Query("routing/unrouted_events", Unrouted)
_DISMISS_ORPHANS = Query("routing/dismiss_orphans", RunId)
_LOCK_RETRIES = Query("routing/lock_retries", RunId)
_RETRY_RUNS = Query("routing/retry_runs", RetriedRun)
_LOCK_RESCHEDULES = Query("routing/lock_reschedules", RunId)
_RESCHEDULE_RUNS = Query("routing/reschedule_runs", RunId)
_FORGET_FAILED_STEPS = Query("routing/forget_failed_steps", NoRow)


def route_events(shard_value: str, worker_id: str, limit: int, left_out: Sequence[str] = ()) -> Statement[Routed]:
    """Turns the committed events of up to ``limit`` runs of one shard value, but not of those in ``left_out``, into
    wakes. ``tell_parents`` follows in the same transaction."""
    params = {
        "shard_value": shard_value,
        "worker_id": worker_id,
        "limit": limit,
        "seen": MAX_SEEN,
        "left_out": column(left_out),
    }
    return _ROUTE_EVENTS.statement(params, _routed)


def _routed(arrived: Sequence[_ArrivedRow]) -> Routed:
    ended = {row.run_id: row for row in arrived if row.became == "cancelled"}
    return Routed(
        live=tuple(
            Event(row.run_id, row.event_id, row.kind, row.name, row.payload)
            for row in arrived
            if row.is_live and row.kind != "next"
        ),
        woken=len({row.run_id for row in arrived if row.became == "queued" or row.became == "sleeping"}),
        ended=tuple(ended),
        children=tuple(
            ended_child(RunKey(row.parent_shard, row.parent_run_id), run_id, "cancelled", error=row.error)
            for run_id, row in ended.items()
            if row.parent_shard is not None and row.parent_run_id is not None
        ),
    )


def unrouted_events(shard_value: str, worker_id: str, left_out: Sequence[str] = ()) -> Statement[Unrouted]:
    """Reads what is left that this worker could do, apart from the runs in ``left_out``."""
    params = {"shard_value": shard_value, "worker_id": worker_id, "seen": MAX_SEEN, "left_out": column(left_out)}
    return _UNROUTED_EVENTS.statement(params, one)


def dismiss_orphans(shard_value: str, limit: int) -> Statement[int]:
    """Takes events of runs that do not exist out of routing, among the first ``limit`` events; answers how many."""
    return _DISMISS_ORPHANS.statement({"shard_value": shard_value, "limit": limit}, len)


@operation
def retry(shard_value: str, limit: int) -> Requests[bool]:
    """Queues up to ``limit`` runs whose retry was requested, and lets them try again what failed. Answers whether there
    were any."""
    retried: list[RetriedRun]
    (locked,) = yield from Begin([lock_retries(shard_value, limit)])
    (retried,) = yield from Batch([retry_runs(shard_value, locked)])
    yield from Commit(
        [
            complete_children(shard_value, [run.run_id for run in retried]),
            forget_failed_steps(shard_value, retried),
        ]
    )
    return bool(retried)


@operation
def reschedule(shard_value: str, limit: int) -> Requests[list[str]]:
    """Changes when up to ``limit`` runs go on, as was requested. Answers for which there was nothing to change."""
    params = {"shard_value": shard_value, "limit": limit, "seen": MAX_SEEN}
    (locked,) = yield from Begin([_LOCK_RESCHEDULES.statement(params, run_ids)])
    unchanged: list[str]
    moving = {"shard_value": shard_value, "run_ids": column(locked)}
    (unchanged,) = yield from Commit([_RESCHEDULE_RUNS.statement(moving, run_ids)])
    return unchanged


def lock_retries(shard_value: str, limit: int) -> Statement[list[str]]:
    """The first statement of ``retry``."""
    return _LOCK_RETRIES.statement({"shard_value": shard_value, "limit": limit, "seen": MAX_SEEN}, run_ids)


def retry_runs(shard_value: str, locked: Sequence[str]) -> Statement[list[RetriedRun]]:
    """The second statement of ``retry``, about the runs that the first one has locked."""
    return _RETRY_RUNS.statement({"shard_value": shard_value, "run_ids": column(locked)}, list)


def forget_failed_steps(shard_value: str, runs: Sequence[RetriedRun]) -> Statement[None]:
    """Lets these runs, whose rows are locked, try again what failed."""
    return _FORGET_FAILED_STEPS.statement(
        {
            "shard_value": shard_value,
            "run_ids": column([run.run_id for run in runs]),
            "epochs": column([run.epoch for run in runs]),
            "were_set_aside": column([run.was_set_aside for run in runs]),
        },
        nothing,
    )
