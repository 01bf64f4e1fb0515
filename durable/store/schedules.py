"""Statements about schedules: those of applications, and those of the worker that begins their runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from durable.core.runs import RunKey
from durable.core.schedules.expressions import parse_schedule
from durable.core.schedules.timetable import CatchUp, Overlap, Timetable
from durable.store.columns import column
from durable.store.statement import NoRow, Query, Statement, nothing, one


class Schedule(msgspec.Struct, frozen=True):
    """What defines a schedule. ``input`` is encoded; ``jitter`` and ``run_timeout`` are in seconds.
    ``priority``, ``tags`` and ``headers`` are those of its runs, the last two encoded."""

    schedule_id: str
    workflow_name: str
    version: int
    expression: str
    timezone: str
    input: str
    catch_up: CatchUp
    overlap: Overlap
    jitter: float
    run_timeout: float | None
    priority: int | None
    tags: str | None
    headers: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    anchor_at: datetime
    next_tick_at: datetime | None

    def timetable(self) -> Timetable:
        """Returns when the schedule fires. Raises ``InvalidArgument`` if the row was written by hand and cannot be
        read."""
        return Timetable(
            schedule=parse_schedule(self.expression),
            anchor=self.anchor_at,
            timezone=self.timezone,
            start=self.starts_at,
            end=self.ends_at,
        )


class NewSchedule(Schedule, frozen=True):
    """A schedule about to be stored."""

    due_at: datetime | None


class DueSchedule(Schedule, frozen=True):
    """A schedule as a worker claims it. ``now`` is the database's time."""

    buffered_tick_at: datetime | None
    last_run: str | None
    now: datetime


class StoredSchedule(Schedule, frozen=True):
    """A schedule as it is listed."""

    last_run: str | None
    paused: bool
    problem: str | None
    last_tick_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ScheduledRun(msgspec.Struct, frozen=True):
    """A run that a schedule begins. ``input``, ``tags`` and ``headers`` are encoded, ``timeout`` is in seconds."""

    run_key: RunKey
    version: int
    timeout: float | None
    schedule_id: str
    scheduled_at: datetime
    input: str
    priority: int
    tags: str | None
    headers: str | None

    @classmethod
    def of(cls, schedule: Schedule, run_key: RunKey, tick: datetime) -> ScheduledRun:
        """Returns the run of that tick."""
        return cls(
            run_key=run_key,
            version=schedule.version,
            timeout=schedule.run_timeout,
            schedule_id=schedule.schedule_id,
            scheduled_at=tick,
            input=schedule.input,
            priority=schedule.priority or 0,
            tags=schedule.tags,
            headers=schedule.headers,
        )


class _Clock(msgspec.Struct, frozen=True):
    now: datetime


class _Put(msgspec.Struct, frozen=True):
    is_new: bool


class _ScheduleId(msgspec.Struct, frozen=True):
    schedule_id: str


class _Deleted(msgspec.Struct, frozen=True):
    is_deleted: bool


class _NextDue(msgspec.Struct, frozen=True):
    due_in: float | None


class _FoundRun(msgspec.Struct, frozen=True):
    run_id: str
    workflow_name_shard: str


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a schedule after its turn. ``None`` in ``last_tick`` and ``last_run`` means unchanged."""

    schedule_id: str
    next_tick: datetime | None
    due: datetime | None
    buffered_tick: datetime | None
    last_tick: datetime | None
    last_run: str | None


_READ_CLOCK = Query("schedules/read_clock", _Clock)
_PUT_SCHEDULE = Query("schedules/put_schedule", _Put)
_PAUSE_SCHEDULE = Query("schedules/pause_schedule", _ScheduleId)
_RESUME_SCHEDULE = Query("schedules/resume_schedule", _ScheduleId)
_DELETE_SCHEDULE = Query("schedules/delete_schedule", _Deleted)
_LIST_SCHEDULES = Query("schedules/list_schedules", StoredSchedule)
_CLAIM_SCHEDULES = Query("schedules/claim_schedules", DueSchedule)
_NEXT_DUE = Query("schedules/next_due", _NextDue)
_BEGIN_SCHEDULED_RUNS = Query("schedules/begin_scheduled_runs", NoRow)
_FIND_RUNS = Query("schedules/find_runs", _FoundRun)
_MOVE_SCHEDULES = Query("schedules/move_schedules", NoRow)
_REST_SCHEDULES = Query("schedules/rest_schedules", NoRow)
_POSTPONE_SCHEDULE = Query("schedules/postpone_schedule", NoRow)


def read_clock() -> Statement[datetime]:
    """Reads the database's time."""
    return _READ_CLOCK.statement({}, lambda rows: one(rows).now)


def put_schedule(new: NewSchedule, *, keeps: bool) -> Statement[bool]:
    """Stores the schedule or changes it; with ``keeps``, its next tick stays. Answers whether it is new to this
    transaction."""
    params = {**msgspec.structs.asdict(new), "keeps": keeps}
    return _PUT_SCHEDULE.statement(params, lambda rows: one(rows).is_new)


def pause_schedule(schedule_id: str) -> Statement[bool]:
    """Pauses a schedule; answers whether it exists."""
    return _PAUSE_SCHEDULE.statement({"schedule_id": schedule_id}, bool)


def resume_schedule(schedule_id: str) -> Statement[bool]:
    """Resumes a schedule; answers whether it exists."""
    return _RESUME_SCHEDULE.statement({"schedule_id": schedule_id}, bool)


def delete_schedule(schedule_id: str) -> Statement[bool]:
    """Deletes a schedule; answers whether it existed."""
    return _DELETE_SCHEDULE.statement({"schedule_id": schedule_id}, lambda rows: one(rows).is_deleted)


def list_schedules(schedule_id: str | None = None) -> Statement[list[StoredSchedule]]:
    """Reads all schedules, or the one with that id if it exists."""
    return _LIST_SCHEDULES.statement({"schedule_id": schedule_id}, list)


def claim_schedules(workflows: Sequence[str], limit: int) -> Statement[list[DueSchedule]]:
    """Reads up to ``limit`` due schedules and locks them until the transaction ends."""
    return _CLAIM_SCHEDULES.statement({"workflows": column(workflows), "limit": limit}, list)


def next_due(workflows: Sequence[str]) -> Statement[float | None]:
    """Reads the seconds until the next schedule of these workflows is due (negative: overdue), ``None`` if there is
    none."""
    return _NEXT_DUE.statement({"workflows": column(workflows)}, lambda rows: one(rows).due_in)


def begin_scheduled_runs(workflow_name: str, runs: Sequence[ScheduledRun]) -> Statement[None]:
    """Inserts runs of one workflow and shard value, at least one run. Runs that already exist are left alone."""
    return _BEGIN_SCHEDULED_RUNS.statement(
        {
            "shard_value": runs[0].run_key.workflow_name_shard,
            "workflow_name": workflow_name,
            "run_ids": column([run.run_key.run_id for run in runs]),
            "versions": column([run.version for run in runs]),
            "timeouts": column([run.timeout or 0 for run in runs]),
            "schedule_ids": column([run.schedule_id for run in runs]),
            "scheduled_ats": column([run.scheduled_at for run in runs]),
            "inputs": column([run.input for run in runs]),
            "priorities": column([run.priority for run in runs]),
            "tags": column([run.tags or "" for run in runs]),
            "headers": column([run.headers or "" for run in runs]),
        },
        nothing,
    )


def find_runs(shard_values: Sequence[str], run_ids: Sequence[str]) -> Statement[dict[str, RunKey]]:
    """Reads which of the runs exist under any of these shard values, by id."""
    return _FIND_RUNS.statement(
        {"shard_values": column(shard_values), "run_ids": column(run_ids)},
        lambda rows: {row.run_id: RunKey(row.workflow_name_shard, row.run_id) for row in rows},
    )


def move_schedules(moved: Sequence[Moved]) -> Statement[None]:
    """Writes the new state of these schedules."""
    return _MOVE_SCHEDULES.statement(
        {
            "schedule_ids": column([one.schedule_id for one in moved]),
            "next_ticks": column([one.next_tick for one in moved]),
            "dues": column([one.due for one in moved]),
            "buffered_ticks": column([one.buffered_tick for one in moved]),
            "last_ticks": column([one.last_tick for one in moved]),
            "last_runs": column([one.last_run for one in moved]),
        },
        nothing,
    )


def rest_schedules(problems: Sequence[tuple[str, str]]) -> Statement[None]:
    """Suspends schedules that cannot be read, each given by its id and the reason."""
    return _REST_SCHEDULES.statement(
        {
            "schedule_ids": column([schedule_id for schedule_id, _ in problems]),
            "problems": column([problem for _, problem in problems]),
        },
        nothing,
    )


def postpone_schedule(schedule_id: str, seconds: float) -> Statement[None]:
    """Makes the schedule due again in that many seconds; its next tick stays."""
    return _POSTPONE_SCHEDULE.statement({"schedule_id": schedule_id, "seconds": seconds}, nothing)
