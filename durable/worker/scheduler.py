"""Begins the runs of schedules: looks at what is due, lets each take its turn, and moves it on, in one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import psycopg

from durable.core.errors import InvalidArgument
from durable.core.runs import TERMINAL, RunKey
from durable.core.schedules.expressions import parse_schedule
from durable.core.schedules.timetable import Timetable, run_id_of
from durable.core.schedules.turns import Scheduled, Turn, turn_of
from durable.core.shards import shard_value
from durable.postgres.outages import is_outage
from durable.postgres.pipeline import read_all, run
from durable.store.channels import announce_event, announce_runs
from durable.store.events import NewEvent, publish_event
from durable.store.ids import uuid7
from durable.store.inspection import run_outcomes
from durable.store.schedules import (
    DueSchedule,
    Moved,
    ScheduledRun,
    begin_scheduled_runs,
    claim_schedules,
    move_schedules,
    next_due,
    postpone_schedule,
    rest_schedules,
)
from durable.store.statement import Statement
from durable.worker.database import Database

_logger = logging.getLogger("durable.worker")

_MOST_DUE = 500
_LONGEST_SECONDS = 15.0
"""A schedule that was written by hand, or while nobody listened, is found this late."""
_POSTPONE_SECONDS = 5.0
_SOONEST_SECONDS = 0.05
_RETRY_SECONDS = 0.5


class Scheduler:
    """One in each worker, for the schedules of its workflows; any number of them share the work."""

    def __init__(
        self, database: Database, schema: str, workflows: Sequence[str], shard_count: Callable[[], int]
    ) -> None:
        self._database = database
        self._schema = schema
        self._workflows = list(workflows)
        self._shard_count = shard_count
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Schedules may have changed."""
        self._awake.set()

    async def run(self) -> None:
        """Begins runs until cancelled. Outages of the database are waited out."""
        while True:
            self._awake.clear()
            try:
                pause = await self._pass()
            except (psycopg.Error, OSError) as error:
                if is_outage(error):
                    _logger.warning("the schedules wait for the database: %s", error)
                else:
                    _logger.exception("looking at the schedules failed")
                pause = _RETRY_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._awake.wait()
            except TimeoutError:
                pass

    async def _pass(self) -> float:
        """Returns seconds until the next look."""
        async with self._database.engine() as connection:
            while True:
                due_in = await run(connection, next_due(self._schema, self._workflows))
                if due_in is None or due_in > 0:
                    return _LONGEST_SECONDS if due_in is None else min(due_in, _LONGEST_SECONDS)
                if await self._take_turns(connection) == 0:
                    return _SOONEST_SECONDS  # another worker holds what is due

    async def _take_turns(self, connection: psycopg.AsyncConnection[Any]) -> int:
        """Returns how many schedules were due. One that fails, the node of its run may be down, holds up no other."""
        try:
            return len(await self._take(connection, _MOST_DUE, []))
        except psycopg.Error as error:
            if connection.closed:
                raise
            _logger.warning("schedules take their turns one by one: %s", error)
        turns = 0
        while await self._take_one(connection):
            turns += 1
        return turns

    async def _take_one(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        claimed: list[DueSchedule] = []
        try:
            return bool(await self._take(connection, 1, claimed))
        except psycopg.Error as error:
            if connection.closed or not claimed:
                raise
            schedule_id = claimed[0].schedule_id
            _logger.warning("schedule %r waits: %s", schedule_id, error, extra={"schedule_id": schedule_id})
            await run(connection, postpone_schedule(self._schema, schedule_id, _POSTPONE_SECONDS))
            return True

    async def _take(
        self, connection: psycopg.AsyncConnection[Any], most: int, claimed: list[DueSchedule]
    ) -> Sequence[DueSchedule]:
        """Takes the turns of up to so many schedules, which it adds to ``claimed`` before."""
        announcements: list[Statement[None]] = []
        async with connection.transaction():
            due = await run(connection, claim_schedules(self._schema, self._workflows, most))
            claimed.extend(due)
            if not due:
                return due
            active = await self._active(connection, due)
            # In a thread: reading a thousand expressions must not hold up the runs.
            turns = await asyncio.to_thread(_turns, due, active)
            await read_all(connection, self._statements(turns, announcements))
        await read_all(connection, announcements)
        return due

    async def _active(self, connection: psycopg.AsyncConnection[Any], due: Sequence[DueSchedule]) -> set[str]:
        """Keys of those runs, of the ones begun last, that have not ended."""
        by_shard: dict[str, list[str]] = {}
        for schedule in due:
            key = None if schedule.overlap == "allow" else _previous(schedule)
            if key is not None:
                by_shard.setdefault(key.workflow_name_shard, []).append(key.run_id)
        asked = [run_outcomes(self._schema, shard, run_ids) for shard, run_ids in by_shard.items()]
        answers = await read_all(connection, asked)
        return {
            str(RunKey(shard, run_id))
            for shard, outcomes in zip(by_shard, answers, strict=True)
            for run_id, outcome in outcomes.items()
            if outcome.status not in TERMINAL
        }

    def _statements(self, turns: Sequence[_Taken], announcements: list[Statement[None]]) -> list[Statement[Any]]:
        """What the turns come to; what is to be said of it after the commit is added to ``announcements``."""
        statements: list[Statement[Any]] = []
        moved: list[Moved] = []
        problems: list[tuple[str, str]] = []
        begun: dict[tuple[str, str], list[ScheduledRun]] = {}
        for taken in turns:
            schedule, turn = taken.schedule, taken.turn
            if turn is None:
                problems.append((schedule.schedule_id, taken.problem))
                extra = {"schedule_id": schedule.schedule_id}
                _logger.error("schedule %r rests: %s", schedule.schedule_id, taken.problem, extra=extra)
                continue
            last_run: str | None = None
            for tick in turn.ticks:
                run_id = run_id_of(schedule.schedule_id, tick)
                shard = shard_value(schedule.workflow_name, run_id, self._shard_count())
                key = RunKey(shard, run_id)
                begun.setdefault((schedule.workflow_name, shard), []).append(
                    ScheduledRun(
                        key, schedule.version, schedule.run_timeout, schedule.schedule_id, tick, schedule.input
                    )
                )
                last_run = str(key)
            if turn.cancels and (previous := _previous(schedule)) is not None:
                reason = msgspec.json.encode(f"schedule {schedule.schedule_id!r} begins its next run").decode()
                request = NewEvent(previous, str(uuid7()), "cancel", reason, kind="cancel")
                statements.append(publish_event(self._schema, request))
                announcements.append(announce_event(self._schema, previous.workflow_name_shard))
            moved.append(
                Moved(
                    schedule_id=schedule.schedule_id,
                    next_tick=turn.next_tick,
                    due=turn.due,
                    buffered_tick=turn.waiting,
                    last_tick=turn.ticks[-1] if turn.ticks else None,
                    last_run=last_run,
                )
            )
        for (workflow_name, shard), runs in begun.items():
            statements.append(begin_scheduled_runs(self._schema, workflow_name, runs))
            announcements.append(announce_runs(self._schema, shard))
        if moved:
            statements.append(move_schedules(self._schema, moved))
        if problems:
            statements.append(rest_schedules(self._schema, problems))
        return statements


class _Taken(msgspec.Struct, frozen=True):
    """``turn`` is ``None`` where the schedule cannot be read, because of ``problem``."""

    schedule: DueSchedule
    turn: Turn | None
    problem: str = ""


def _previous(schedule: DueSchedule) -> RunKey | None:
    """The run of the tick before, also ``None`` where what is written there names none."""
    try:
        return None if schedule.last_run is None else RunKey.parse(schedule.last_run)
    except ValueError:
        return None


def _turns(due: Sequence[DueSchedule], active: set[str]) -> list[_Taken]:
    return [_turn(schedule, is_previous_active=schedule.last_run in active) for schedule in due]


def _turn(schedule: DueSchedule, *, is_previous_active: bool) -> _Taken:
    try:
        scheduled = Scheduled(
            schedule_id=schedule.schedule_id,
            timetable=Timetable(
                schedule=parse_schedule(schedule.expression),
                anchor=schedule.anchor_at,
                timezone=schedule.timezone,
                start=schedule.starts_at,
                end=schedule.ends_at,
            ),
            catch_up=schedule.catch_up,
            overlap=schedule.overlap,
            jitter=schedule.jitter,
            next_tick=schedule.next_tick_at,
            waiting=schedule.buffered_tick_at,
        )
        return _Taken(schedule, turn_of(scheduled, schedule.now, is_previous_active=is_previous_active))
    except InvalidArgument as error:  # whatever was written by hand, it must not stall the others
        return _Taken(schedule, None, str(error))
