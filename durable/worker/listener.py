"""LISTEN: shortens the wait for what others commit. A hint, never the truth; polling stays correct without it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import psycopg
from psycopg import sql

from durable.postgres.silence import answering
from durable.store.sessions import is_pooled
from durable.worker.database import Database

_logger = logging.getLogger("durable.worker")

_HEARTBEAT_SECONDS = 15.0
_ANSWER_SECONDS = 2.0
_RECONNECT_SECONDS = 0.5
_POOLED_SECONDS = 3600.0


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
            pause = _RECONNECT_SECONDS
            try:
                await self._listen()
            except psycopg.NotSupportedError as error:
                _logger.warning("polling instead of listening: %s", error)
                pause = _POOLED_SECONDS
            except (psycopg.Error, OSError) as error:
                _logger.warning("listening stopped, polling goes on: %s", error)
            finally:
                self.is_connected = False
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        connection = await self._database.connect()
        try:
            line = connection.psycopg
            if await connection.answer(is_pooled(line.info.backend_pid), _ANSWER_SECONDS):
                raise psycopg.NotSupportedError("a transaction pooler passes no notifications on")
            with answering(line, _ANSWER_SECONDS):
                await line.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            self.is_connected = True
            self._caught_up()
            while True:
                async for notice in line.notifies(timeout=_HEARTBEAT_SECONDS):
                    self._notified(notice.payload)
                with answering(line, _ANSWER_SECONDS):
                    await line.execute("SELECT 1")
        finally:
            await connection.close()
