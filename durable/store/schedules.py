"""Statements on schedules: those of applications, and those of the worker that begins their runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from durable.core.runs import RunKey
from durable.core.schedules.timetable import CatchUp, Overlap
from durable.store.columns import column
from durable.store.queries import query
from durable.store.statement import Statement, nothing


class NewSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule about to be stored. ``input`` is encoded; ``jitter`` and ``run_timeout`` are in seconds."""

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
    starts_at: datetime | None
    ends_at: datetime | None
    anchor_at: datetime
    next_tick_at: datetime | None
    due_at: datetime | None


class DueSchedule(msgspec.Struct, frozen=True):
    """A schedule as a worker claims it: unread still, for somebody may have written it by hand. ``now`` is the
    database's time."""

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
    starts_at: datetime | None
    ends_at: datetime | None
    anchor_at: datetime
    next_tick_at: datetime | None
    buffered_tick_at: datetime | None
    last_run: str | None
    now: datetime


class StoredSchedule(msgspec.Struct, frozen=True):
    """A schedule as it is listed."""

    schedule_id: str
    workflow_name: str
    expression: str
    timezone: str
    catch_up: CatchUp
    overlap: Overlap
    jitter: float
    starts_at: datetime | None
    ends_at: datetime | None
    anchor_at: datetime
    paused: bool
    problem: str | None
    next_tick_at: datetime | None
    last_tick_at: datetime | None
    last_run: str | None
    version: int
    run_timeout: float | None
    input: str
    created_at: datetime
    updated_at: datetime


class ScheduledRun(msgspec.Struct, frozen=True):
    """A run that a schedule begins. ``input`` is encoded, ``timeout`` in seconds."""

    run_key: RunKey
    version: int
    timeout: float | None
    schedule_id: str
    scheduled_at: datetime
    input: str


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """Where a schedule stands after its turn. ``None`` in ``last_tick`` and ``last_run``: as before."""

    schedule_id: str
    next_tick: datetime | None
    due: datetime | None
    buffered_tick: datetime | None
    last_tick: datetime | None
    last_run: str | None


def read_clock(schema: str) -> Statement[datetime]:
    """The database's time."""
    return Statement(query("schedules/read_clock", schema), {}, lambda rows: rows[0][0])


def put_schedule(schema: str, new: NewSchedule, *, keeps: bool) -> Statement[bool]:
    """Stores the schedule or changes it, with or without its next tick. Whether it is new to this transaction."""
    params = {**msgspec.structs.asdict(new), "keeps": keeps}
    return Statement(query("schedules/put_schedule", schema), params, lambda rows: bool(rows[0][0]))


def pause_schedule(schema: str, schedule_id: str) -> Statement[bool]:
    """Whether it exists."""
    return Statement(query("schedules/pause_schedule", schema), {"schedule_id": schedule_id}, bool)


def resume_schedule(schema: str, schedule_id: str) -> Statement[bool]:
    """Whether it exists."""
    return Statement(query("schedules/resume_schedule", schema), {"schedule_id": schedule_id}, bool)


def delete_schedule(schema: str, schedule_id: str) -> Statement[bool]:
    """Whether it existed."""
    return Statement(query("schedules/delete_schedule", schema), {"schedule_id": schedule_id}, bool)


def list_schedules(schema: str, schedule_id: str | None = None) -> Statement[list[StoredSchedule]]:
    """All, or that one if it exists."""
    return Statement(
        query("schedules/list_schedules", schema),
        {"schedule_id": schedule_id},
        lambda rows: [StoredSchedule(*row) for row in rows],
    )


def claim_schedules(schema: str, workflows: Sequence[str], limit: int) -> Statement[list[DueSchedule]]:
    """Up to ``limit`` due schedules, locked until the transaction ends."""
    return Statement(
        query("schedules/claim_schedules", schema),
        {"workflows": column(workflows), "limit": limit},
        lambda rows: [DueSchedule(*row) for row in rows],
    )


def next_due(schema: str, workflows: Sequence[str]) -> Statement[float | None]:
    """Seconds until the next schedule of these workflows is due (negative: overdue), ``None`` if there is none."""
    return Statement(query("schedules/next_due", schema), {"workflows": column(workflows)}, lambda rows: rows[0][0])


def begin_scheduled_runs(schema: str, workflow_name: str, runs: Sequence[ScheduledRun]) -> Statement[None]:
    """Runs of one workflow and shard value, at least one. Those that exist are left alone."""
    return Statement(
        query("schedules/begin_scheduled_runs", schema),
        {
            "shard_value": runs[0].run_key.workflow_name_shard,
            "workflow_name": workflow_name,
            "run_ids": column([run.run_key.run_id for run in runs]),
            "versions": column([run.version for run in runs]),
            "timeouts": column([run.timeout for run in runs]),
            "schedule_ids": column([run.schedule_id for run in runs]),
            "scheduled_ats": column([run.scheduled_at for run in runs]),
            "inputs": column([run.input for run in runs]),
        },
        nothing,
    )


def find_runs(schema: str, shard_values: Sequence[str], run_ids: Sequence[str]) -> Statement[dict[str, RunKey]]:
    """Those of the runs that exist, by id, wherever among these shard values they are."""
    return Statement(
        query("schedules/find_runs", schema),
        {"shard_values": column(shard_values), "run_ids": column(run_ids)},
        lambda rows: {run_id: RunKey(shard, run_id) for run_id, shard in rows},
    )


def move_schedules(schema: str, moved: Sequence[Moved]) -> Statement[None]:
    """Writes where they stand now."""
    return Statement(
        query("schedules/move_schedules", schema),
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


def rest_schedules(schema: str, problems: Sequence[tuple[str, str]]) -> Statement[None]:
    """Lets schedules (id and reason) rest."""
    return Statement(
        query("schedules/rest_schedules", schema),
        {"schedule_ids": column([one[0] for one in problems]), "problems": column([one[1] for one in problems])},
        nothing,
    )


def postpone_schedule(schema: str, schedule_id: str, seconds: float) -> Statement[None]:
    """Has a schedule looked at again in that many seconds; its next tick stays."""
    return Statement(
        query("schedules/postpone_schedule", schema), {"schedule_id": schedule_id, "seconds": seconds}, nothing
    )
