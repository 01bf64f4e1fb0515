"""What workers know of each other: who lives, who shows no sign of it, and what the dead have left."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable.store.columns import column
from durable.store.queries import query
from durable.store.statement import Row, Statement, nothing


class Suspect(msgspec.Struct, frozen=True):
    """A worker that shows no sign of life. ``is_stale``: its heartbeat is older than its lease. ``lock_key`` is
    ``None`` behind a transaction pooler."""

    worker_id: str
    workflows: tuple[str, ...]
    lock_key: int | None
    is_stale: bool


class Heard(msgspec.Struct, frozen=True):
    """The answer to a heartbeat. ``is_known`` False: the others have declared this worker dead."""

    is_known: bool
    shard_count: int
    suspects: tuple[Suspect, ...]


def register_worker(
    schema: str,
    worker_id: str,
    *,
    lock_key: int | None,
    hostname: str,
    process_id: int,
    workflows: list[str],
    lease: float,
) -> Statement[None]:
    """Makes the worker known to the others. ``lease`` in seconds; ``lock_key`` is ``None`` where no lock is held."""
    return Statement(
        query("workers/register_worker", schema),
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


def beat(schema: str, worker_id: str) -> Statement[Heard]:
    """A sign of life, and a look at the others."""

    def read(rows: Sequence[Row]) -> Heard:
        suspects = tuple(Suspect(str(row[2]), tuple(row[3]), row[4], row[5]) for row in rows if row[2] is not None)
        return Heard(rows[0][0], rows[0][1], suspects)

    return Statement(query("workers/beat", schema), {"worker_id": worker_id}, read)


def remove_worker(schema: str, worker_id: str) -> Statement[None]:
    """Forgets a worker whose runs are all handed on."""
    return Statement(query("workers/remove_worker", schema), {"worker_id": worker_id}, nothing)
