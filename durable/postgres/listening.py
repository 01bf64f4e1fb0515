"""LISTEN: shortens the wait for what others commit. A notification is only a hint, so every listener also polls."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import psycopg
from psycopg import sql

from durable.postgres.connection import EngineConnection
from durable.postgres.silence import answering
from durable.store.sessions import is_pooled


async def notifications(
    connection: EngineConnection, channel: str, *, heartbeat: float, patience: float
) -> AsyncGenerator[str | None]:
    """Yields ``None`` once the connection is listening, because what was announced before can only be found by asking.
    Then yields the payload of each notification, for as long as the connection lasts.

    A connection that brings nothing is asked for a sign of life every ``heartbeat`` seconds, and is hung up unless it
    answers within ``patience`` seconds. Raises ``psycopg.NotSupportedError`` behind a transaction pooler.
    """
    line = connection.psycopg
    if await connection.answer(is_pooled(line.info.backend_pid), patience):
        raise psycopg.NotSupportedError("a transaction pooler does not pass notifications on")
    with answering(line, patience):
        await line.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
    yield None
    while True:
        async for notice in line.notifies(timeout=heartbeat):
            yield notice.payload
        with answering(line, patience):
            await line.execute("SELECT 1")
