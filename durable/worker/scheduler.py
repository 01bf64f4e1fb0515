"""Looks for due schedules, and has each of them take its turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import psycopg

from durable.postgres.connection import EngineConnection
from durable.postgres.outages import is_outage
from durable.store.schedules import next_due, postpone_schedule
from durable.worker.clock import Clock
from durable.worker.database import Database
from durable.worker.due_schedules import TurnsFailed, take_turns

_logger = logging.getLogger("durable.worker")

_MAX_DUE = 500
_MAX_PAUSE_SECONDS = 15.0
"""A schedule that was written by hand, or while no worker was listening, is found at most this late."""
_POSTPONE_SECONDS = 5.0
_MIN_PAUSE_SECONDS = 0.05
_RETRY_SECONDS = 0.5


class Scheduler:
    """Each worker has one, for the schedules of its workflows; any number of them share the work."""

    def __init__(self, database: Database, workflows: Sequence[str], clock: Clock) -> None:
        self._database = database
        self._workflows = list(workflows)
        self._clock = clock
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Looks again, because schedules may have changed."""
        self._awake.set()

    async def run(self) -> None:
        """Begins runs until cancelled. Waits while the database is unavailable."""
        while True:
            self._awake.clear()
            try:
                pause = await self._pass()
            except (psycopg.Error, OSError) as error:
                if is_outage(error):
                    _logger.warning("schedules paused: database unavailable: %s", error)
                else:
                    _logger.exception("looking for due schedules failed")
                pause = _RETRY_SECONDS
            await self._clock.wait(self._awake, pause)

    async def _pass(self) -> float:
        """Returns the seconds until the next look."""
        async with self._database.engine() as connection:
            while True:
                due_in = await connection.run(next_due(self._workflows))
                if due_in is None or due_in > 0:
                    return _MAX_PAUSE_SECONDS if due_in is None else min(due_in, _MAX_PAUSE_SECONDS)
                if await self._take_all(connection) == 0:
                    return _MIN_PAUSE_SECONDS  # another worker holds what is due

    async def _take_all(self, connection: EngineConnection) -> int:
        """Returns how many schedules were due. If one fails, for example because the node of its run is down, the
        others still take their turns."""
        try:
            return await connection.run(take_turns(self._workflows, _MAX_DUE))
        except TurnsFailed as failed:
            _raise_if_closed(connection, failed)
            _logger.warning("taking the turns of schedules one by one: %s", failed.error)
        turns = 0
        while await self._take_one(connection):
            turns += 1
        return turns

    async def _take_one(self, connection: EngineConnection) -> bool:
        try:
            return bool(await connection.run(take_turns(self._workflows, 1)))
        except TurnsFailed as failed:
            _raise_if_closed(connection, failed)
            (schedule_id,) = failed.schedule_ids
            extra = {"schedule_id": schedule_id}
            _logger.warning(
                "schedule %r failed, retrying in %g s: %s", schedule_id, _POSTPONE_SECONDS, failed.error, extra=extra
            )
            await connection.run(postpone_schedule(schedule_id, _POSTPONE_SECONDS))
            return True


def _raise_if_closed(connection: EngineConnection, failed: TurnsFailed) -> None:
    if connection.is_closed or not isinstance(failed.error, psycopg.Error):
        raise failed.error from None
