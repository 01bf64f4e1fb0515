"""What the server knows of the connections to it."""

from __future__ import annotations

import msgspec

from durable.store.queries import query
from durable.store.statement import Op, Statement, nothing


class Backend(msgspec.Struct, frozen=True):
    """One end of a connection as the server sees it. ``since`` changes with every statement."""

    state: str | None
    is_reading: bool | None
    since: str | None


def is_pooled(process_id: int) -> Op[bool]:
    """Whether a connection that was told this process id leads to another one: to a pooler, which lends a server's
    connection for a transaction. Nothing that belongs to a session lasts there."""
    statement: Statement[int] = Statement(query("sessions/backend_pid", "durable"), {}, lambda rows: int(rows[0][0]))
    return (yield from statement) != process_id


def hold_lock(key: int) -> Statement[None]:
    """Takes the session's lock of that key (63 bits), by which others tell that a worker lives."""
    return Statement(query("sessions/hold_lock", "durable"), {"key": key}, nothing)


def share_lock(key: int) -> Statement[None]:
    """Marks a session as that worker's. The two halves of the key are a lock of their own."""
    low = (key & 0xFFFFFFFF) - (1 << 32 if key & 0x80000000 else 0)
    return Statement(query("sessions/share_lock", "durable"), {"high": key >> 32, "low": low}, nothing)


def end_sessions(key: int) -> Statement[None]:
    """Ends the sessions of the worker with that lock: one that hangs may hold others in a transaction it has begun."""
    return Statement(query("sessions/end_sessions", "durable"), {"key": key}, nothing)


def end_backend(process_id: int) -> Statement[None]:
    """Ends a session."""
    return Statement(query("sessions/end_backend", "durable"), {"pid": process_id}, nothing)


def look_at_backend(process_id: int) -> Statement[Backend | None]:
    """``None``: the server has no such connection any more."""
    return Statement(
        query("sessions/look_at_backend", "durable"),
        {"pid": process_id},
        lambda rows: Backend(*rows[0]) if rows else None,
    )
