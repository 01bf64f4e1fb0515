"""What workers know about each other: which are alive, and which show no sign of life."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable.store.columns import column
from durable.store.statement import NoRow, Query, Statement, nothing


class Suspect(msgspec.Struct, frozen=True):
    """A worker that shows no sign of life. ``is_stale``: its heartbeat is older than its lease. ``lock_key`` is
    ``None`` behind a transaction pooler."""

    worker_id: str
    workflows: tuple[str, ...]
    lock_key: int | None
    is_stale: bool


class ListeningWorker(msgspec.Struct, frozen=True):
    """A worker that hears announcements."""

    worker_id: str
    workflows: list[str]


class Heard(msgspec.Struct, frozen=True):
    """The answer to a heartbeat. If ``is_known`` is false, the others have declared this worker dead."""

    is_known: bool
    shard_count: int
    suspects: tuple[Suspect, ...]


class _HeardRow(msgspec.Struct, frozen=True):
    is_known: bool
    shard_count: int
    suspect_id: str | None
    workflows: list[str] | None
    lock_key: int | None
    is_stale: bool | None


_REGISTER_WORKER = Query("workers/register_worker", NoRow)
_BEAT = Query("workers/beat", _HeardRow)
_LISTENING_WORKERS = Query("workers/listening_workers", ListeningWorker)
_REMOVE_WORKER = Query("workers/remove_worker", NoRow)


def register_worker(
    worker_id: str, *, lock_key: int | None, hostname: str, process_id: int, workflows: list[str], lease: float
) -> Statement[None]:
    """Makes the worker known to the others. ``lease`` is in seconds; ``lock_key`` is ``None`` if no lock is held."""
    return _REGISTER_WORKER.statement(
        {
            "worker_id": worker_id,
            "lock_key": lock_key,
            "hostname": hostname,
            "process_id": process_id,
            "workflows": column(workflows),
            "lease": lease,
        },
        nothing,
    )


def beat(worker_id: str, *, is_listening: bool) -> Statement[Heard]:
    """Records a sign of life and whether the worker hears announcements, and reads which other workers show no sign of
    life."""
    return _BEAT.statement({"worker_id": worker_id, "is_listening": is_listening}, _heard)


def _heard(rows: Sequence[_HeardRow]) -> Heard:
    suspects = tuple(
        Suspect(row.suspect_id, tuple(row.workflows or ()), row.lock_key, bool(row.is_stale))
        for row in rows
        if row.suspect_id is not None
    )
    return Heard(rows[0].is_known, rows[0].shard_count, suspects)


def listening_workers() -> Statement[list[ListeningWorker]]:
    """Reads which workers hear announcements."""
    return _LISTENING_WORKERS.statement({}, list)


def remove_worker(worker_id: str) -> Statement[None]:
    """Removes a worker whose runs have all been handed over."""
    return _REMOVE_WORKER.statement({"worker_id": worker_id}, nothing)
