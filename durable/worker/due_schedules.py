"""The turn of each due schedule: its runs are begun and it moves on to its next tick, all in one transaction."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from durable.core.errors import InvalidArgument
from durable.core.runs import TERMINAL, RunKey
from durable.core.schedules.timetable import run_id_of
from durable.core.schedules.turns import Scheduled, Turn, turn_of
from durable.core.shards import shard_value
from durable.store.channels import announce_event, announce_runs
from durable.store.events import NewEvent, publish_event
from durable.store.ids import uuid7
from durable.store.inspection import run_outcomes
from durable.store.operation import operation
from durable.store.schedules import (
    DueSchedule,
    Moved,
    ScheduledRun,
    begin_scheduled_runs,
    claim_schedules,
    find_runs,
    move_schedules,
    rest_schedules,
)
from durable.store.sessions import limit_locks
from durable.store.settings import Shards, lock_names, read_shards
from durable.store.statement import Batch, Begin, Commit, Compute, Requests, Statement

_logger = logging.getLogger("durable.worker")


class TurnsFailed(Exception):
    """The turns of these schedules could not be written, because of ``error``; the transaction was rolled back."""

    def __init__(self, schedule_ids: Sequence[str], error: Exception) -> None:
        super().__init__(schedule_ids, error)
        self.schedule_ids = schedule_ids
        self.error = error


@operation
def take_turns(workflows: Sequence[str], limit: int, *, lock_seconds: float | None = None) -> Requests[int]:
    """Takes the turns of up to ``limit`` due schedules of these workflows; answers how many there were. Raises
    ``TurnsFailed`` if something fails once these schedules are known. ``lock_seconds``: how long a statement waits for
    a lock; ``None`` leaves that to the connection."""
    due: Sequence[DueSchedule]
    limits = [] if lock_seconds is None else [limit_locks(lock_seconds)]
    *_, due = yield from Begin([*limits, claim_schedules(workflows, limit)])
    if not due:
        return 0
    try:
        shards = yield from read_shards()
        if shards.is_being_raised:
            # A client may be filling in ticks of theirs, and go by another count.
            yield from lock_names([schedule.schedule_id for schedule in due])
            shards = yield from read_shards()
        active = yield from _find_active(due)
        # In a thread, because reading a thousand expressions must not hold up the runs.
        turns = yield from Compute(functools.partial(_turns, due, active))
        begun = yield from _find_begun(turns, shards)
        changes = _changes_of(turns, shards.shard_count, begun)
        yield from Commit(changes.statements, then=changes.announcements)
    except Exception as error:
        raise TurnsFailed([schedule.schedule_id for schedule in due], error) from error
    return len(due)


@operation
def _find_active(due: Sequence[DueSchedule]) -> Requests[set[str]]:
    """Returns the keys of those last runs of these schedules that have not ended."""
    by_shard: dict[str, list[str]] = {}
    for schedule in due:
        key = None if schedule.overlap == "allow" else _last_run(schedule)
        if key is not None:
            by_shard.setdefault(key.workflow_name_shard, []).append(key.run_id)
    if not by_shard:
        return set()
    answers = yield from Batch([run_outcomes(shard, run_ids) for shard, run_ids in by_shard.items()])
    return {
        str(RunKey(shard, run_id))
        for shard, outcomes in zip(by_shard, answers, strict=True)
        for run_id, outcome in outcomes.items()
        if outcome.status not in TERMINAL
    }


def _find_begun(taken: Iterable[_Taken], shards: Shards) -> Requests[Mapping[str, RunKey]]:
    """Returns those runs of the ticks that exist, by id, if they may lie under another shard value than they would be
    begun under now: a client may have begun them before the shard count was raised."""
    run_ids: dict[str, str] = {}
    for one in taken:
        for tick in one.turn.ticks if one.turn is not None else ():
            run_ids[run_id_of(one.schedule.schedule_id, tick)] = one.schedule.workflow_name
    if not run_ids or len(shards.known) == 1:
        return {}
    values = {shard_value(name, run_id, count) for run_id, name in run_ids.items() for count in shards.known}
    return (yield from find_runs(sorted(values), list(run_ids)))


class _Taken(msgspec.Struct, frozen=True):
    """A schedule and its turn; ``turn`` is ``None`` if the schedule cannot be read, because of ``problem``."""

    schedule: DueSchedule
    turn: Turn | None
    problem: str = ""


class _Changes(msgspec.Struct, frozen=True):
    """The result of the turns: what is written, and what is announced after the commit."""

    statements: list[Statement[Any]]
    announcements: list[Statement[None]]


def _changes_of(taken: Iterable[_Taken], shard_count: int, begun_before: Mapping[str, RunKey]) -> _Changes:
    changes = _Changes([], [])
    moved: list[Moved] = []
    problems: list[tuple[str, str]] = []
    begun: dict[tuple[str, str], list[ScheduledRun]] = {}
    for one in taken:
        schedule, turn = one.schedule, one.turn
        if turn is None:
            problems.append((schedule.schedule_id, one.problem))
            continue
        runs = _runs_of(schedule, turn, shard_count, begun_before)
        for run in runs:
            begun.setdefault((schedule.workflow_name, run.run_key.workflow_name_shard), []).append(run)
        if turn.cancels and (last_run := _last_run(schedule)) is not None:
            changes.statements.append(publish_event(_cancel(schedule, last_run)))
            changes.announcements.append(announce_event(last_run.workflow_name_shard))
        moved.append(_moved(schedule, turn, runs))
    for (workflow_name, shard), runs in begun.items():
        changes.statements.append(begin_scheduled_runs(workflow_name, runs))
        changes.announcements.append(announce_runs(shard))
    if moved:
        changes.statements.append(move_schedules(moved))
    if problems:
        changes.statements.append(rest_schedules(problems))
    return changes


def _runs_of(
    schedule: DueSchedule, turn: Turn, shard_count: int, begun_before: Mapping[str, RunKey]
) -> list[ScheduledRun]:
    runs: list[ScheduledRun] = []
    for tick in turn.ticks:
        run_id = run_id_of(schedule.schedule_id, tick)
        new = RunKey(shard_value(schedule.workflow_name, run_id, shard_count), run_id)
        runs.append(ScheduledRun.of(schedule, begun_before.get(run_id, new), tick))
    return runs


def _cancel(schedule: DueSchedule, last_run: RunKey) -> NewEvent:
    reason = msgspec.json.encode(f"schedule {schedule.schedule_id!r} begins its next run").decode()
    return NewEvent(last_run, str(uuid7()), "cancel", reason, kind="cancel")


def _moved(schedule: DueSchedule, turn: Turn, runs: Sequence[ScheduledRun]) -> Moved:
    return Moved(
        schedule_id=schedule.schedule_id,
        next_tick=turn.next_tick,
        due=turn.due,
        buffered_tick=turn.waiting,
        last_tick=runs[-1].scheduled_at if runs else None,
        last_run=str(runs[-1].run_key) if runs else None,
    )


def _last_run(schedule: DueSchedule) -> RunKey | None:
    """Returns the run of the previous tick; ``None`` also if the stored text does not name a run."""
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
            timetable=schedule.timetable(),
            catch_up=schedule.catch_up,
            overlap=schedule.overlap,
            jitter=schedule.jitter,
            next_tick=schedule.next_tick_at,
            waiting=schedule.buffered_tick_at,
        )
        return _Taken(schedule, turn_of(scheduled, schedule.now, is_previous_active=is_previous_active))
    except InvalidArgument as error:  # a schedule that was written by hand must not hold up the others
        extra = {"schedule_id": schedule.schedule_id}
        _logger.error("schedule %r is suspended until it is set again: %s", schedule.schedule_id, error, extra=extra)
        return _Taken(schedule, None, str(error))
