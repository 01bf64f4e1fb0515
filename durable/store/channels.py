"""The notification channels: their names, and what is announced on them.

A notification is a hint that shortens a wait. A listener that misses one finds the same thing by polling.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from durable.store.queries import in_schema
from durable.store.statement import Query, Statement, nothing

_IDS_PER_NOTICE = 200
"""The payload of a notification is limited to 8,000 bytes; an id and its comma take 37."""


class _Notified(msgspec.Struct, frozen=True):
    pg_notify: str  # a void, which arrives as empty text


_ANNOUNCE_WORK = Query("channels/announce_work", _Notified)
_ANNOUNCE_ENDED = Query("channels/announce_ended", _Notified)


def work_channel(schema: str) -> str:
    """Returns the channel on which work is announced to workers: ``run:<shard value>``, ``event:<shard value>``,
    ``schedule:`` or ``worker:``."""
    return f"durable_work_{_hash('durable.work', schema)}"


def done_channel(schema: str) -> str:
    """Returns the channel on which ended runs are announced to clients that wait for results: run ids, separated by
    commas."""
    return f"durable_done_{_hash('durable.done', schema)}"


def _hash(text: str, schema: str) -> str:
    """Returns the hash, computed in the same way as in the statements."""
    return sha256(in_schema(text, schema).encode()).hexdigest()[:16]


def announce_runs(shard_value: str) -> Statement[None]:
    """Announces that there are runs to claim."""
    return _announce_work(f"run:{shard_value}")


def announce_event(shard_value: str) -> Statement[None]:
    """Announces that there is an event to route."""
    return _announce_work(f"event:{shard_value}")


def announce_schedule() -> Statement[None]:
    """Announces that a schedule is new or was changed."""
    return _announce_work("schedule:")


def announce_departure() -> Statement[None]:
    """Announces that a worker is leaving or has died: from now on, only the other workers can keep track of when its
    runs wake."""
    return _announce_work("worker:")


def announce_ended(run_ids: Sequence[str]) -> list[Statement[None]]:
    """Announces that these runs have ended."""
    return [
        _ANNOUNCE_ENDED.statement({"payload": ",".join(run_ids[first : first + _IDS_PER_NOTICE])}, nothing)
        for first in range(0, len(run_ids), _IDS_PER_NOTICE)
    ]


def _announce_work(payload: str) -> Statement[None]:
    return _ANNOUNCE_WORK.statement({"payload": payload}, nothing)
