"""The names of the notification channels and what is said on them.

A notification is a hint that shortens a wait; whoever misses it finds the same by polling.
"""

from __future__ import annotations

from hashlib import sha256


def work_channel(schema: str) -> str:
    """Where committed work is announced to workers: ``run:<shard value>`` or ``event:<shard value>``.

    Hashed, since a schema name may fill the 63 bytes that a channel name has.
    """
    return f"durable_work_{sha256(schema.encode()).hexdigest()[:16]}"


def done_channel(schema: str) -> str:
    """Where ended runs are announced to those who await results: run ids, separated by commas."""
    return f"durable_done_{sha256(schema.encode()).hexdigest()[:16]}"
