"""What the server knows of the connections to it."""

from __future__ import annotations

import msgspec

from durable.store.queries import query
from durable.store.statement import Op, Statement


class Backend(msgspec.Struct, frozen=True):
    """One end of a connection as the server sees it. ``since`` changes with every statement."""

    state: str | None
    is_reading: bool | None
    since: str | None


def is_pooled(process_id: int) -> Op[bool]:
    """Whether a connection that was told this process id leads to another one: to a pooler, which lends a server's
    connection for a transaction. Nothing that belongs to a session lasts there."""
    statement: Statement[int] = Statement(query("backend_pid", "durable"), {}, lambda rows: int(rows[0][0]))
    return (yield from statement) != process_id


def look_at_backend(process_id: int) -> Statement[Backend | None]:
    """``None``: the server has no such connection any more."""
    return Statement(
        query("look_at_backend", "durable"),
        {"pid": process_id},
        lambda rows: Backend(*rows[0]) if rows else None,
    )
