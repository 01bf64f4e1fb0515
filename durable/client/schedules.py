"""Each operation on schedules, written once for both colors, without I/O; see ``operations``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Unpack, get_args

import msgspec

from durable.client.begun import find_begun
from durable.client.operations import Operations
from durable.core.arguments import one_of, truth
from durable.core.codec.places import Place
from durable.core.durations import aware, seconds
from durable.core.errors import InvalidArgument, ScheduleNotFound
from durable.core.keys import check_key
from durable.core.replay.workflow import Workflow, check_workflow
from durable.core.run_options import CheckedOptions, GivenOptions, checked_options
from durable.core.runs import RunKey
from durable.core.schedules.expressions import Schedule, parse_schedule
from durable.core.schedules.timetable import CatchUp, Overlap, Timetable, jitter_of, run_id_of
from durable.core.shards import shard_value
from durable.store import schedules
from durable.store.channels import announce_runs, announce_schedule
from durable.store.ids import uuid7
from durable.store.operation import Operation, operation
from durable.store.schedules import NewSchedule, ScheduledRun, StoredSchedule
from durable.store.statement import Requests

_MAX_TICKS = 10_000
_MAX_JITTER = 366 * 86400.0
_MOMENT = timedelta(microseconds=1)
_NO_ANCHOR = datetime(1970, 1, 1, tzinfo=UTC)


class ScheduleInfo(msgspec.Struct, frozen=True):
    """The current state of a schedule. Times are aware, by the database's clock.

    ``schedule`` is the text of its expression; ``jitter`` is in seconds; ``start`` and ``end`` are ``None`` if it has
    no such bound. ``problem`` says why the schedule is suspended if it cannot be read, and is ``None`` otherwise;
    scheduling it again resolves that. ``next_tick_at`` is ``None`` if the schedule never fires again or was just
    resumed; ``last_tick_at`` and ``last_run`` are ``None`` until it has begun a run.
    """

    schedule_id: str
    workflow_name: str
    schedule: str
    timezone: str
    catch_up: CatchUp
    overlap: Overlap
    jitter: float
    start: datetime | None
    end: datetime | None
    is_paused: bool
    problem: str | None
    next_tick_at: datetime | None
    last_tick_at: datetime | None
    last_run: RunKey | None
    created_at: datetime
    updated_at: datetime


class ScheduleOptions(GivenOptions, total=False):
    """The keywords of ``schedule`` and ``schedule_tx``. Those that each run is given apply to the runs begun from then
    on."""

    run_now: bool
    """Whether to begin a run immediately if the schedule is new; False if not given."""
    timezone: str
    """The time zone of the cron fields, as an IANA name; UTC if not given."""
    overlap: Overlap
    """What a tick does while the run of the previous tick has not ended. ``"allow"``, used if not given, begins its run
    alongside the other; ``"skip"`` drops the tick; ``"cancel_other"`` cancels the other run; ``"buffer_one"`` lets one
    tick wait for the other run to end and drops the rest."""
    catch_up: CatchUp
    """What happens to ticks that were missed because no worker was looking. ``"one"``, used if not given, begins a run
    for the last of them; ``"all"`` for every one, at most 1,000; ``"skip"`` for none that is more than a minute
    late."""
    jitter: timedelta | float
    """Delays each run by up to this many seconds, always by the same amount for the same tick; 0 if not given. Should
    be less than the time between two ticks, or some ticks will be treated as missed."""
    start: datetime | None
    """There are no ticks before this time; an aware datetime. ``None``, or not given: no such bound."""
    end: datetime | None
    """There are no ticks after this time; an aware datetime. ``None``, or not given: no such bound."""


class ScheduleRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has been checked; the rest needs the database's clock. The timetable's ``anchor`` is only a
    placeholder until then."""

    schedule_id: str
    workflow_name: str
    version: int
    input: str
    given: CheckedOptions
    timetable: Timetable
    catch_up: CatchUp
    overlap: Overlap
    jitter: float
    run_now: bool


class ScheduleOperations:
    """The operations on schedules. They share the codec and the shard count with the other operations."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def new_schedule(
        self,
        wf: Workflow[Any, Any],
        input: object,
        schedule_id: str | None,
        schedule: Schedule | str,
        *,
        run_now: bool = False,
        timezone: str = "UTC",
        overlap: Overlap = "allow",
        catch_up: CatchUp = "one",
        jitter: timedelta | float = 0.0,
        start: datetime | None = None,
        end: datetime | None = None,
        **given: Unpack[GivenOptions],
    ) -> ScheduleRequest:
        """Checks all arguments. Raises ``InvalidArgument`` or ``SerializationError``."""
        check_workflow(wf)
        encoded = wf.encoded_input(input, self._operations.codec, Place("input of a schedule", wf.name))
        one_of("overlap", overlap, get_args(Overlap))
        one_of("catch_up", catch_up, get_args(CatchUp))
        late = seconds("jitter", jitter)
        if late > _MAX_JITTER:
            raise InvalidArgument("jitter", jitter, "at most a year")
        return ScheduleRequest(
            schedule_id=wf.name if schedule_id is None else check_key("schedule_id", schedule_id),
            workflow_name=wf.name,
            version=wf.version,
            input=encoded,
            given=checked_options(wf.timeout, **given),
            timetable=Timetable(
                schedule=parse_schedule(schedule) if isinstance(schedule, str) else schedule,
                anchor=_NO_ANCHOR,
                timezone=timezone,
                start=start,
                end=end,
            ),
            catch_up=catch_up,
            overlap=overlap,
            jitter=late,
            run_now=truth("run_now", run_now),
        )

    @operation
    def schedule(self, request: ScheduleRequest) -> Requests[bool]:
        """Stores or changes the schedule; answers whether it is new. Raises ``InvalidArgument`` if it would never
        fire."""
        yield from self._operations.require_schema()
        now = yield from schedules.read_clock()
        found = yield from schedules.list_schedules(request.schedule_id)
        # The anchor of an interval stays: if each deployment with other bounds restarted it, it would never fire.
        earlier = found[0] if found and _fires_alike(found[0], request.timetable) else None
        anchor = now if earlier is None else earlier.anchor_at
        timetable = msgspec.structs.replace(request.timetable, anchor=anchor)
        tick = timetable.next_tick(now)
        if earlier is not None and _is_missed(earlier.next_tick_at, now, timetable):
            tick = earlier.next_tick_at
        if tick is None:
            raise InvalidArgument(
                "schedule", str(timetable.schedule), "a schedule that fires at least once from now on"
            )
        jitter = timedelta(seconds=jitter_of(request.schedule_id, tick, request.jitter))
        new = NewSchedule(
            schedule_id=request.schedule_id,
            workflow_name=request.workflow_name,
            version=request.version,
            expression=str(timetable.schedule),
            timezone=timetable.timezone,
            input=request.input,
            catch_up=request.catch_up,
            overlap=request.overlap,
            jitter=request.jitter,
            run_timeout=request.given.timeout,
            priority=request.given.priority,
            tags=request.given.tags,
            headers=request.given.headers,
            starts_at=timetable.start,
            ends_at=timetable.end,
            anchor_at=anchor,
            next_tick_at=tick,
            due_at=tick + jitter,
        )
        keeps = earlier is not None and (earlier.starts_at, earlier.ends_at) == (new.starts_at, new.ends_at)
        is_new = (yield from schedules.put_schedule(new, keeps=keeps)) and not found
        yield from self._operations.announce(announce_schedule())
        if is_new and request.run_now:
            yield from self.trigger(request.schedule_id, self.new_run_id())
        return is_new

    @operation
    def pause(self, schedule_id: str) -> Requests[None]:
        """Pauses a schedule. Raises ``ScheduleNotFound``."""
        schedule_id = check_key("schedule_id", schedule_id)
        yield from self._operations.require_schema()
        if not (yield from schedules.pause_schedule(schedule_id)):
            raise ScheduleNotFound(schedule_id)

    @operation
    def resume(self, schedule_id: str) -> Requests[None]:
        """Resumes a schedule. Raises ``ScheduleNotFound``."""
        schedule_id = check_key("schedule_id", schedule_id)
        yield from self._operations.require_schema()
        if not (yield from schedules.resume_schedule(schedule_id)):
            raise ScheduleNotFound(schedule_id)
        yield from self._operations.announce(announce_schedule())

    def delete(self, schedule_id: str) -> Operation[None]:
        """Deletes a schedule. Raises ``ScheduleNotFound``."""
        return _Deletion(self._operations, check_key("schedule_id", schedule_id))

    @operation
    def statuses(self) -> Requests[list[ScheduleInfo]]:
        """Returns all schedules, ordered by id."""
        yield from self._operations.require_schema()
        stored = yield from schedules.list_schedules()
        return [_status(one) for one in stored]

    @staticmethod
    def new_run_id() -> str:
        """Draws a run id. This must happen before the run is begun, so that a begin whose answer was lost can be
        repeated."""
        return str(uuid7())

    @operation
    def trigger(self, schedule_id: str, run_id: str) -> Requests[RunKey]:
        """Begins a run with that id now. Raises ``ScheduleNotFound``."""
        stored = yield from self._stored(schedule_id)
        now = yield from schedules.read_clock()
        (run_key,) = yield from self._begin(stored, [(run_id, now)], (yield from self._operations.shard_count()))
        return run_key

    @operation
    def backfill(self, schedule_id: str, start: datetime, end: datetime) -> Requests[list[RunKey]]:
        """Begins the runs of past ticks. Raises ``ScheduleNotFound`` or ``InvalidArgument``."""
        start, end = aware("start", start), aware("end", end)
        stored = yield from self._stored(schedule_id)
        now = yield from schedules.read_clock()
        if not start <= end <= now:
            raise InvalidArgument("end", end, "neither before the start nor in the future")
        ticks = stored.timetable().ticks(start.astimezone(UTC) - _MOMENT, end, _MAX_TICKS + 1)
        if len(ticks) > _MAX_TICKS:
            raise InvalidArgument("start", start, f"at most {_MAX_TICKS:,} ticks before the end (backfill in parts)")
        wanted = {run_id_of(schedule_id, tick): tick for tick in ticks}
        # No worker begins runs of this schedule meanwhile.
        names = dict.fromkeys(wanted, stored.workflow_name)
        begun, count = yield from find_begun(names, locked=[stored.schedule_id])
        missing = [(run_id, tick) for run_id, tick in wanted.items() if run_id not in begun]
        begun.update({key.run_id: key for key in (yield from self._begin(stored, missing, count))})
        return [begun[run_id] for run_id in wanted]

    def _stored(self, schedule_id: str) -> Requests[StoredSchedule]:
        schedule_id = check_key("schedule_id", schedule_id)
        yield from self._operations.require_schema()
        found = yield from schedules.list_schedules(schedule_id)
        if not found:
            raise ScheduleNotFound(schedule_id)
        return found[0]

    def _begin(self, stored: StoredSchedule, ticks: list[tuple[str, datetime]], count: int) -> Requests[list[RunKey]]:
        by_shard: dict[str, list[ScheduledRun]] = {}
        run_keys: list[RunKey] = []
        for run_id, tick in ticks:
            run_key = RunKey(shard_value(stored.workflow_name, run_id, count), run_id)
            by_shard.setdefault(run_key.workflow_name_shard, []).append(ScheduledRun.of(stored, run_key, tick))
            run_keys.append(run_key)
        for shard, runs in by_shard.items():
            yield from schedules.begin_scheduled_runs(stored.workflow_name, runs)
            yield from self._operations.announce(announce_runs(shard))
        return run_keys


class _Deletion:
    """Remembers what an earlier try of the same deletion found: if the answer to its commit was lost, the schedule is
    gone by now although it did exist."""

    def __init__(self, operations: Operations, schedule_id: str) -> None:
        self._operations = operations
        self._schedule_id = schedule_id
        self._is_found = False

    def __iter__(self) -> Requests[None]:
        yield from self._operations.require_schema()
        self._is_found |= yield from schedules.delete_schedule(self._schedule_id)
        if not self._is_found:
            raise ScheduleNotFound(self._schedule_id)


def _fires_alike(stored: StoredSchedule, new: Timetable) -> bool:
    """Returns whether the ticks are the same, but for the bounds."""
    return stored.problem is None and (stored.expression, stored.timezone) == (str(new.schedule), new.timezone)


def _is_missed(tick: datetime | None, now: datetime, timetable: Timetable) -> bool:
    """Returns whether a tick is overdue that the bounds still allow."""
    return (
        tick is not None
        and tick <= now
        and (timetable.start is None or tick >= timetable.start)
        and (timetable.end is None or tick <= timetable.end)
    )


def _status(stored: StoredSchedule) -> ScheduleInfo:
    return ScheduleInfo(
        schedule_id=stored.schedule_id,
        workflow_name=stored.workflow_name,
        schedule=stored.expression,
        timezone=stored.timezone,
        catch_up=stored.catch_up,
        overlap=stored.overlap,
        jitter=stored.jitter,
        start=stored.starts_at,
        end=stored.ends_at,
        is_paused=stored.paused,
        problem=stored.problem,
        next_tick_at=stored.next_tick_at,
        last_tick_at=stored.last_tick_at,
        last_run=None if stored.last_run is None else RunKey.parse(stored.last_run),
        created_at=stored.created_at,
        updated_at=stored.updated_at,
    )
