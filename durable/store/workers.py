"""What workers know about each other: which are alive, and which show no sign of life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from durable.store.columns import column
from durable.store.operation import operation
from durable.store.statement import NoRow, Query, Requests, Statement, nothing, one


class Suspect(msgspec.Struct, frozen=True):
    """A worker that shows no sign of life. ``is_stale``: its heartbeat is older than its lease. ``session_key``
    marks its sessions; it is ``None`` behind a transaction pooler."""

    worker_id: str
    workflows: tuple[str, ...]
    session_key: int | None
    is_stale: bool


class ListeningWorker(msgspec.Struct, frozen=True):
    """A worker that hears announcements."""

    worker_id: str
    workflows: list[str]


class Offer(msgspec.Struct, frozen=True):
    """How a worker executes a workflow: which version it has, and how many runs at once."""

    version: int
    concurrency: int


class Heard(msgspec.Struct, frozen=True):
    """The answer to a heartbeat. If ``is_known`` is false, the others have declared this worker dead. ``paused`` are
    the names of the workflows that are paused."""

    is_known: bool
    shard_count: int
    suspects: tuple[Suspect, ...]
    paused: frozenset[str] = frozenset()


class _HeardRow(msgspec.Struct, frozen=True):
    is_known: bool
    shard_count: int
    suspect_id: str | None
    workflows: list[str] | None
    session_key: int | None
    is_stale: bool | None
    paused: list[str]


class _Allowed(msgspec.Struct, frozen=True):
    is_allowed: bool


class _Served(msgspec.Struct, frozen=True):
    is_served: bool


_REGISTER_WORKER = Query("workers/register_worker", NoRow)
_BEAT = Query("workers/beat", _HeardRow)
_LISTENING_WORKERS = Query("workers/listening_workers", ListeningWorker)
_REMOVE_WORKER = Query("workers/remove_worker", NoRow)
_MAY_SEE_WORKERS = Query("workers/may_see_workers", _Allowed)
_IS_SERVED = Query("workers/is_served", _Served)


def register_worker(
    worker_id: str,
    *,
    lock_key: int | None,
    session_key: int | None,
    hostname: str,
    process_id: int,
    offers: Mapping[str, Offer],
    lease: float,
) -> Statement[None]:
    """Makes the worker known to the others. ``offers`` are the workflows that it has, by name; ``lease`` is in seconds;
    ``lock_key`` is ``None`` if no lock is held, and ``session_key`` if sessions cannot be marked."""
    return _REGISTER_WORKER.statement(
        {
            "worker_id": worker_id,
            "lock_key": lock_key,
            "session_key": session_key,
            "hostname": hostname,
            "process_id": process_id,
            "workflows": column(list(offers)),
            "offers": msgspec.json.encode(offers).decode(),
            "lease": lease,
        },
        nothing,
    )


def beat(worker_id: str, lock_key: int | None, *, is_listening: bool) -> Statement[Heard]:
    """Records a sign of life, which lock is held and whether the worker hears announcements, and reads which other
    workers show no sign of life."""
    params = {"worker_id": worker_id, "lock_key": lock_key, "is_listening": is_listening}
    return _BEAT.statement(params, _heard)


def _heard(rows: Sequence[_HeardRow]) -> Heard:
    suspects = tuple(
        Suspect(row.suspect_id, tuple(row.workflows or ()), row.session_key, bool(row.is_stale))
        for row in rows
        if row.suspect_id is not None
    )
    return Heard(rows[0].is_known, rows[0].shard_count, suspects, frozenset(rows[0].paused))


def listening_workers() -> Statement[list[ListeningWorker]]:
    """Reads which workers hear announcements."""
    return _LISTENING_WORKERS.statement({}, list)


def remove_worker(worker_id: str) -> Statement[None]:
    """Removes a worker whose runs have all been handed over."""
    return _REMOVE_WORKER.statement({"worker_id": worker_id}, nothing)


@operation
def is_served(workflow_name: str) -> Requests[bool | None]:
    """Returns whether a living worker has this workflow, ``None`` if this role may not know."""
    if not (yield from _MAY_SEE_WORKERS.statement({}, one)).is_allowed:
        return None
    return (yield from _IS_SERVED.statement({"workflow_name": workflow_name}, one)).is_served
