"""The notification channels: their names, and what is said on them.

A notification is a hint that shortens a wait; whoever misses it finds the same by polling.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from durable.store.queries import query
from durable.store.statement import Statement, nothing

_IDS_A_NOTICE = 200
"""A notification's payload ends at 8,000 bytes; an id and its comma take 37."""


def work_channel(schema: str) -> str:
    """Where work is announced to workers: ``run:<shard value>``, ``event:<shard value>``, ``schedule:`` or ``worker:``.

    Hashed, since a schema name may fill the 63 bytes that a channel name has.
    """
    return f"durable_work_{sha256(schema.encode()).hexdigest()[:16]}"


def done_channel(schema: str) -> str:
    """Where ended runs are announced to those who await results: run ids, separated by commas."""
    return f"durable_done_{sha256(schema.encode()).hexdigest()[:16]}"


def announce_runs(schema: str, shard_value: str) -> Statement[None]:
    """There are runs to claim."""
    return _notify(schema, work_channel(schema), f"run:{shard_value}")


def announce_event(schema: str, shard_value: str) -> Statement[None]:
    """There is an event to route."""
    return _notify(schema, work_channel(schema), f"event:{shard_value}")


def announce_schedule(schema: str) -> Statement[None]:
    """A schedule is new or was changed."""
    return _notify(schema, work_channel(schema), "schedule:")


def announce_departure(schema: str) -> Statement[None]:
    """A worker leaves or has died: nobody but the others remembers when its runs wake."""
    return _notify(schema, work_channel(schema), "worker:")


def announce_ended(schema: str, run_ids: Sequence[str]) -> list[Statement[None]]:
    """Those runs have ended."""
    return [
        _notify(schema, done_channel(schema), ",".join(run_ids[first : first + _IDS_A_NOTICE]))
        for first in range(0, len(run_ids), _IDS_A_NOTICE)
    ]


def _notify(schema: str, channel: str, payload: str) -> Statement[None]:
    return Statement(query("channels/notify", schema), {"channel": channel, "payload": payload}, nothing)
