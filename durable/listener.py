"""LISTEN: shortens the wait for what others commit. A hint, never the truth; polling stays correct without it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import psycopg
from psycopg import AsyncConnection, sql

from durable.database import Database

_logger = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 15.0
_ANSWER_SECONDS = 5.0
_RECONNECT_SECONDS = 0.5


class Listener:
    """Holds one connection that listens. ``caught_up`` is called after each (re)connection: what was announced
    before is to be found by polling. ``notified`` gets each payload."""

    def __init__(
        self, database: Database, channel: str, *, caught_up: Callable[[], None], notified: Callable[[str], None]
    ) -> None:
        self._database = database
        self._channel = channel
        self._caught_up = caught_up
        self._notified = notified
        self.is_connected = False

    async def run(self) -> None:
        """Listens until cancelled; reconnects for ever."""
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError, TimeoutError) as error:
                _logger.warning("listening stopped, polling goes on: %s", error)
            finally:
                self.is_connected = False
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await AsyncConnection.connect(self._database.conninfo, **self._database.connect_options)
        try:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            self.is_connected = True
            self._caught_up()
            while True:
                async for notice in connection.notifies(timeout=_HEARTBEAT_SECONDS):
                    self._notified(notice.payload)
                await self._check(connection)
        finally:
            await connection.close()

    async def _check(self, connection: AsyncConnection[object]) -> None:
        # Not asyncio.wait_for: cancelling a statement opens a second connection through the same dead network.
        answer = asyncio.ensure_future(connection.execute("SELECT 1"))
        done, _ = await asyncio.wait({answer}, timeout=_ANSWER_SECONDS)
        if not done:
            connection.pgconn.finish()
            await asyncio.wait({answer}, timeout=_ANSWER_SECONDS)
            raise TimeoutError(f"the listening connection did not answer within {_ANSWER_SECONDS:g} s")
        await answer
