"""Looks for due schedules, and has each of them take its turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import psycopg

from durable.core.retry import exponential
from durable.postgres.connection import EngineConnection
from durable.store.schedules import next_due, postpone_schedule
from durable.worker.clock import Clock
from durable.worker.database import Database
from durable.worker.due_schedules import TurnsFailed, take_turns

_MAX_DUE = 500
_MAX_PAUSE_SECONDS = 15.0
"""A schedule that was written by hand is found at most this late."""
_POSTPONE_BACKOFF = exponential(5, 60)
_FORGET_SECONDS = 120.0
"""A schedule that has not failed for this long fails for the first time."""
_LOCK_SECONDS = 0.1
"""How long the turn of one schedule waits for a lock: a client that has inserted the run of a tick without committing
it must not hold up the other schedules."""
_MIN_PAUSE_SECONDS = 0.05


class Scheduler:
    """Each worker has one, for the schedules of its workflows; any number of them share the work. ``poll_interval``
    returns how many seconds may pass until the next look: fewer if nothing tells the worker of new schedules."""

    def __init__(
        self, database: Database, workflows: Sequence[str], clock: Clock, poll_interval: Callable[[], float]
    ) -> None:
        self._database = database
        self._workflows = list(workflows)
        self._clock = clock
        self._poll_interval = poll_interval
        self._awake = asyncio.Event()
        self._failing: dict[str, tuple[int, float]] = {}
        """The schedules that failed by themselves: how often in a row, and when for the last time."""

    def wake(self) -> None:
        """Looks again, because schedules may have changed."""
        self._awake.set()

    async def run(self) -> None:
        """Begins runs until cancelled. Waits while the database is unavailable."""
        while True:
            self._awake.clear()
            try:
                pause = await self._pass()
            except Exception as error:
                await self._database.outages.pause("looking for due schedules", error)
            else:
                self._database.outages.succeeded("looking for due schedules")
                await self._clock.wait(self._awake, pause)

    async def _pass(self) -> float:
        """Returns the seconds until the next look."""
        async with self._database.engine() as connection:
            while True:
                due_in = await connection.run(next_due(self._workflows))
                if due_in is None or due_in > 0:
                    pause = min(self._poll_interval(), _MAX_PAUSE_SECONDS)
                    return pause if due_in is None else min(due_in, pause)
                if await self._take_all(connection) == 0:
                    return _MIN_PAUSE_SECONDS  # another worker holds what is due

    async def _take_all(self, connection: EngineConnection) -> int:
        """Returns how many schedules were due. If one fails, for example because the node of its run is down, the
        others still take their turns."""
        try:
            return await connection.run(take_turns(self._workflows, _MAX_DUE))
        except TurnsFailed as failed:
            _raise_if_closed(connection, failed)
        turns = 0
        while await self._take_one(connection):
            turns += 1
        return turns

    async def _take_one(self, connection: EngineConnection) -> bool:
        try:
            taking = take_turns(self._workflows, 1, lock_seconds=_LOCK_SECONDS)
            return bool(await connection.run(taking))
        except TurnsFailed as failed:
            _raise_if_closed(connection, failed)
            (schedule_id,) = failed.schedule_ids
            self._database.outages.log.failed(f"schedule {schedule_id!r}", failed.error, schedule_id=schedule_id)
            await connection.run(postpone_schedule(schedule_id, self._delay(schedule_id)))
            return True

    def _delay(self, schedule_id: str) -> float:
        now = time.monotonic()
        self._failing = {key: (n, at) for key, (n, at) in self._failing.items() if now - at < _FORGET_SECONDS}
        failures = self._failing.get(schedule_id, (0, now))[0] + 1
        self._failing[schedule_id] = failures, now
        return _POSTPONE_BACKOFF.delay(failures)


def _raise_if_closed(connection: EngineConnection, failed: TurnsFailed) -> None:
    if connection.is_closed or not isinstance(failed.error, psycopg.Error):
        raise failed.error from None
