"""Listens for announcements of work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

import psycopg

from durable.postgres.listening import notifications
from durable.worker.database import Database
from durable.worker.outages import Outages

_logger = logging.getLogger("durable.worker")

_HEARTBEAT_SECONDS = 15.0
_ANSWER_SECONDS = 2.0
_RECONNECT_SECONDS = 2.0
"""The longest pause between two tries to connect."""
_POOLED_SECONDS = 3600.0


class Listener:
    """Holds one connection that listens. ``caught_up`` is called after each (re)connection, because whatever was
    announced before must be found by polling. ``notified`` is called with each payload."""

    def __init__(
        self, database: Database, channel: str, *, caught_up: Callable[[], None], notified: Callable[[str], None]
    ) -> None:
        self._database = database
        self._channel = channel
        self._caught_up = caught_up
        self._notified = notified
        self.is_connected = False

    async def run(self) -> None:
        """Listens until cancelled, and reconnects whenever the connection is lost."""
        outages = Outages(self._database.outages.log, _RECONNECT_SECONDS)
        while True:
            try:
                await self._listen()
            except psycopg.NotSupportedError as error:
                _logger.warning("polling instead of listening: %s", error)
                self.is_connected = False
                await asyncio.sleep(_POOLED_SECONDS)
            except Exception as error:
                self.is_connected = False
                await outages.pause("listening", error)
            finally:
                self.is_connected = False

    async def _listen(self) -> None:
        connection = await self._database.connect()
        try:
            arriving = notifications(connection, self._channel, heartbeat=_HEARTBEAT_SECONDS, patience=_ANSWER_SECONDS)
            async with aclosing(arriving):
                async for payload in arriving:
                    if payload is None:
                        self.is_connected = True
                        self._caught_up()
                    else:
                        self._notified(payload)
        finally:
            await connection.close()
