"""The notification channels: their names, and what is announced on them.

A notification is a hint that shortens a wait. A listener that misses one finds the same thing by polling.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from durable.core.shards import fnv1a32
from durable.store.queries import in_schema
from durable.store.statement import Query, Statement, nothing

TICKETS = 251
"""How many tickets there are: enough to spread runs evenly over dozens of workers, and few enough for one worker to
listen to them all. A prime, so that regular gaps between the transactions that announce runs spare no ticket."""
NUMBERS = 2 * TICKETS
"""How many numbered channels there are: one for each ticket, and as many for shard values."""
_IDS_PER_NOTICE = 200
"""The payload of a notification is limited to 8,000 bytes; an id and its comma take 37."""


class _Notified(msgspec.Struct, frozen=True):
    pg_notify: str  # a void, which arrives as empty text


_ANNOUNCE_WORK = Query("channels/announce_work", _Notified)
_ANNOUNCE_RUNS = Query("channels/announce_runs", _Notified)
_ANNOUNCE_ENDED = Query("channels/announce_ended", _Notified)


def work_channel(schema: str) -> str:
    """Returns the channel on which work is announced to all workers: ``run:<shard value>``, ``event:<shard value>``,
    ``schedule:`` or ``worker:``."""
    return f"durable_work_{_hash('durable.work', schema)}"


def numbered_channel(schema: str, number: int) -> str:
    """Returns one of the channels on which runs are announced to a few workers: ``first:<ticket>:<shard value>``, on
    the channels of the ticket and of the shard value."""
    return f"{work_channel(schema)}_{number}"


def number_of(shard_value: str) -> int:
    """Returns the number of the channel that belongs to a shard value; it is none of the tickets."""
    return TICKETS + fnv1a32(shard_value) % TICKETS


def done_channel(schema: str) -> str:
    """Returns the channel on which runs that have ended and requests that were answered are announced to clients that
    wait for them: ids, separated by commas."""
    return f"durable_done_{_hash('durable.done', schema)}"


def _hash(text: str, schema: str) -> str:
    """Returns the hash, computed in the same way as in the statements."""
    return sha256(in_schema(text, schema).encode()).hexdigest()[:16]


def announce_runs(shard_value: str) -> Statement[None]:
    """Announces that there are runs to claim, to the worker that comes first; the others look a little later. However
    often this is said in one transaction, it is heard once."""
    params = {"shard_value": shard_value, "number": number_of(shard_value), "tickets": TICKETS}
    return _ANNOUNCE_RUNS.statement(params, nothing)


def announce_runs_to_all(shard_value: str) -> Statement[None]:
    """Announces that there are runs to claim, more than one worker can be expected to take: all look at once."""
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


def announce_ended(ids: Sequence[str]) -> list[Statement[None]]:
    """Announces that these runs have ended, or that these requests were answered."""
    return [
        _ANNOUNCE_ENDED.statement({"payload": ",".join(ids[first : first + _IDS_PER_NOTICE])}, nothing)
        for first in range(0, len(ids), _IDS_PER_NOTICE)
    ]


def _announce_work(payload: str) -> Statement[None]:
    return _ANNOUNCE_WORK.statement({"payload": payload}, nothing)
