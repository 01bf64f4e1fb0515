"""Listens for announcements of work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable

import psycopg

from durable.postgres.listening import Channels, listen
from durable.store.channels import NUMBERS, numbered_channel, work_channel
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
    announced before must be found by polling; and ``gained`` with the numbers of channels that were added meanwhile.
    ``notified`` is called with each payload."""

    def __init__(
        self,
        database: Database,
        channel: str,
        *,
        caught_up: Callable[[], None],
        gained: Callable[[Collection[int]], None],
        notified: Callable[[str], None],
    ) -> None:
        self._database = database
        self._channel = channel
        self._gained = gained
        self._channels = Channels([channel], self._gained_names)
        self.hear(range(NUMBERS))
        self._caught_up = caught_up
        self._notified = notified
        self.is_connected = False

    def hear(self, numbers: Iterable[int]) -> None:
        """Listens to the channels of these numbers from now on, besides its own."""
        if self._is_usual:
            schema = self._database.schema
            self._channels.want([self._channel, *(numbered_channel(schema, number) for number in numbers)])

    @property
    def hears_work(self) -> bool:
        """Returns whether it hears what durable itself announces; another channel brings only what the application
        announces."""
        return self.is_connected and self._is_usual

    @property
    def _is_usual(self) -> bool:
        return self._channel == work_channel(self._database.schema)

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
            await listen(
                connection,
                self._channels,
                caught_up=self._connected,
                notified=self._notified,
                heartbeat=_HEARTBEAT_SECONDS,
                patience=_ANSWER_SECONDS,
            )
        finally:
            await connection.close()

    def _connected(self) -> None:
        self.is_connected = True
        self._caught_up()

    def _gained_names(self, names: frozenset[str]) -> None:
        self._gained({int(name.rpartition("_")[2]) for name in names})
