"""The harness's own eye on the database, and what it samples while a fault is on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from tests.faults.effects import STEP

_SAMPLE_SECONDS = 0.2
_OLDEST = f"""
    SELECT substring(application_name FROM '^worker-([0-9]+)')::int,
           extract(epoch FROM clock_timestamp() - xact_start)::float8, state, left(query, 60)
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'worker-%' AND xact_start IS NOT NULL
      AND state <> 'idle' AND application_name NOT LIKE '%{STEP}'
    ORDER BY xact_start LIMIT 1
"""


class Observer:
    """``oldest``: the greatest age of a transaction of a worker that was seen, in seconds, and what it was.

    ``excused``: process ids that are not looked at now. ``lateness``: by how many seconds the harness itself was woken
    too late at worst: how little of the machine was left for everybody.
    """

    def __init__(self, conninfo: str, excused: Callable[[], Collection[int]]) -> None:
        self._conninfo = make_conninfo(conninfo, application_name="observer")
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._lock = asyncio.Lock()
        self._excused = excused
        self.oldest = (0.0, "")
        self.lateness = 0.0

    async def rows(self, statement: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Asks until it is answered; statements must bear being repeated."""
        while True:
            try:
                async with self._lock:
                    if self._connection is None or self._connection.closed:
                        self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
                    cursor = await self._connection.execute(statement.encode(), params or None)
                    return await cursor.fetchall() if cursor.description else []
            except (psycopg.OperationalError, psycopg.InterfaceError, OSError):
                await asyncio.sleep(0.02)

    async def sample(self) -> None:
        """Looks until cancelled."""
        while True:
            asleep = time.monotonic()
            await asyncio.sleep(_SAMPLE_SECONDS)
            self.lateness = max(self.lateness, time.monotonic() - asleep - _SAMPLE_SECONDS)
            for process_id, age, state, query in await self.rows(_OLDEST):
                if age > self.oldest[0] and process_id not in self._excused():
                    self.oldest = (age, f"worker {process_id}, {state}: {query}")

    async def close(self) -> None:
        """Any number of times."""
        if self._connection is not None:
            await self._connection.close()
