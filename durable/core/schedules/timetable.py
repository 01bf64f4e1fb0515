"""When a schedule fires: its ticks, in a time zone, and the ticks for which a worker begins runs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Literal, TypeAlias
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import force_setattr

from durable.core.durations import aware, seconds
from durable.core.errors import InvalidArgument
from durable.core.schedules.expressions import Cron, Every, Fields, Schedule, check_timezone, fields_of, parse_schedule

CatchUp: TypeAlias = Literal["one", "all", "skip"]
"""What happens to ticks that were missed: the last one fires, all of them fire, or none fires that is more than a
minute late."""

Overlap: TypeAlias = Literal["allow", "skip", "cancel_other", "buffer_one"]
"""What a tick does while the run of an earlier tick is still going: run alongside it, do nothing, cancel it, or run
after it."""

_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_ON_TIME = timedelta(seconds=60)
_RUN_IDS = UUID("6f0e7b0c-5d1e-4b52-9a37-c2f1d4a8e963")

# The range of moments that every time zone can show; outside of it a schedule never fires.
_FIRST, _LAST = date(3, 1, 2).toordinal(), date(9997, 12, 30).toordinal()


class Timetable(msgspec.Struct, frozen=True, kw_only=True):
    """The ticks of a schedule, none of them before ``start`` or after ``end`` (``None``: no bound). Raises
    ``InvalidArgument``.

    ``Every`` counts from ``anchor``, which is not itself a tick. ``Cron`` reads the wall clock of ``timezone``. A time
    that the clock skips fires when the gap ends, and all times in one gap fire together; a time that occurs twice fires
    the first time. If the hour is literally ``*``, real time counts instead: a skipped time does not fire, and a time
    that occurs twice fires twice.
    """

    schedule: Schedule
    anchor: datetime
    timezone: str = "UTC"
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Cron | Every):
            raise InvalidArgument("schedule", self.schedule, "Cron(…) or Every(…)")
        check_timezone(self.timezone)
        force_setattr(self, "schedule", parse_schedule(str(self.schedule)))  # Cron("@every …") becomes Every
        force_setattr(self, "anchor", _utc("anchor", self.anchor))
        for bound in ("start", "end"):
            if getattr(self, bound) is not None:
                force_setattr(self, bound, _utc(bound, getattr(self, bound)))
        if self.start is not None and self.end is not None and self.end < self.start:
            raise InvalidArgument("end", self.end, "at or after the start")

    def next_tick(self, after: datetime) -> datetime | None:
        """Returns the first tick later than ``after``, in UTC, or ``None`` if the schedule never fires again."""
        after = _utc("after", after)
        if self.start is not None:
            after = max(after, self.start - _MICROSECOND)
        found = self._ticks.after(after)
        return None if found is None or (self.end is not None and found > self.end) else found

    def last_tick(self, until: datetime) -> datetime | None:
        """Returns the last tick not later than ``until``, in UTC, or ``None`` if there is none yet."""
        until = _utc("until", until)
        if self.end is not None:
            until = min(until, self.end)
        found = self._ticks.until(until)
        return None if found is None or (self.start is not None and found < self.start) else found

    def ticks(self, after: datetime, until: datetime, limit: int) -> tuple[datetime, ...]:
        """Returns the last ``limit`` ticks later than ``after`` and not later than ``until``, in order and in UTC. The
        cost depends on the number of these ticks, not on the length of the span."""
        after = _utc("after", after)
        found: list[datetime] = []
        while len(found) < limit and (tick := self.last_tick(until)) is not None and tick > after:
            found.append(tick)
            until = tick - _MICROSECOND
        return tuple(reversed(found))

    @property
    def _ticks(self) -> _Steady | _OfTheClock:
        match self.schedule:
            case Every():
                return _Steady(self.schedule.period, self.anchor)
            case Cron(expression):
                return _OfTheClock(fields_of(expression), check_timezone(self.timezone))


class _Steady(msgspec.Struct, frozen=True):
    """Ticks at ``anchor + k * period``, for k from 1 on."""

    period: timedelta
    anchor: datetime

    def after(self, moment: datetime) -> datetime | None:
        return self._tick(max((moment - self.anchor) // self.period + 1, 1))

    def until(self, moment: datetime) -> datetime | None:
        number = (moment - self.anchor) // self.period
        return self._tick(number) if number >= 1 else None

    def _tick(self, number: int) -> datetime | None:
        try:
            tick = self.anchor + number * self.period
        except OverflowError:
            return None
        return tick if tick.toordinal() <= _LAST else None


class _OfTheClock(msgspec.Struct, frozen=True):
    """The moments at which a wall clock shows a time that the fields match.

    A wall time that occurs twice has two moments, which ``fold`` tells apart. Within one fold, later wall times have
    later moments, so each search walks the matching wall times in order, starting from where the clock of the other
    fold may be.
    """

    fields: Fields
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        start = min(self._walls_at(moment))
        found = (self._first(fold, start, moment) for fold in self._folds)
        return min((tick for tick in found if tick is not None), default=None)

    def until(self, moment: datetime) -> datetime | None:
        start = max(self._walls_at(moment))
        found = (self._last(fold, start, moment) for fold in self._folds)
        return max((tick for tick in found if tick is not None), default=None)

    @property
    def _folds(self) -> tuple[int, ...]:
        return (0, 1) if self.fields.is_hourly else (0,)

    def _first(self, fold: int, start: datetime, moment: datetime) -> datetime | None:
        ticks = (self._moment(wall, fold) for wall in self._walls_from(start))
        return next((tick for tick in ticks if tick is not None and tick > moment), None)

    def _last(self, fold: int, start: datetime, moment: datetime) -> datetime | None:
        ticks = (self._moment(wall, fold) for wall in self._walls_back_from(start))
        return next((tick for tick in ticks if tick is not None and tick <= moment), None)

    def _walls_from(self, start: datetime) -> Iterator[datetime]:
        """Yields the matching wall times from ``start`` on. Fields that match no day within eight years have been
        rejected before."""
        for ordinal in range(max(start.toordinal(), _FIRST), _LAST + 1):
            day = date.fromordinal(ordinal)
            if self.fields.matches(day):
                times = self.fields.times
                first = bisect_left(times, start.time()) if day == start.date() else 0
                yield from (datetime.combine(day, time) for time in times[first:])

    def _walls_back_from(self, start: datetime) -> Iterator[datetime]:
        """Yields the matching wall times from ``start`` backward."""
        for ordinal in range(min(start.toordinal(), _LAST), _FIRST - 1, -1):
            day = date.fromordinal(ordinal)
            if self.fields.matches(day):
                times = self.fields.times
                most = bisect_right(times, start.time()) if day == start.date() else len(times)
                yield from (datetime.combine(day, time) for time in reversed(times[:most]))

    def _walls_at(self, moment: datetime) -> tuple[datetime, datetime]:
        """Returns what the clock shows at the moment, by the offset of each fold."""
        shown = moment.astimezone(self.zone)
        bare = moment.replace(tzinfo=None)
        return bare + _offset(shown.replace(fold=0)), bare + _offset(shown.replace(fold=1))

    def _moment(self, wall: datetime, fold: int) -> datetime | None:
        """Returns the tick of that wall time, in UTC, or ``None`` for a skipped wall time if real time counts."""
        moment = wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
        if moment.astimezone(self.zone).replace(tzinfo=None) == wall:
            return moment
        return None if self.fields.is_hourly else self._end_of_gap(wall)

    def _end_of_gap(self, wall: datetime) -> datetime:
        """Returns the first moment after the gap in which the wall time lies."""
        local = wall.replace(tzinfo=self.zone)
        before, beyond = _offset(local.replace(fold=0)), _offset(local.replace(fold=1))
        earlier = (wall - beyond).replace(tzinfo=UTC)
        index = bisect_left(
            range((beyond - before) // _SECOND),
            True,
            key=lambda passed: _offset((earlier + passed * _SECOND).astimezone(self.zone)) != before,
        )
        return earlier + index * _SECOND


def jitter_of(schedule_id: str, tick: datetime, jitter: float) -> float:
    """Returns by how many seconds the run of a tick is delayed: from 0 up to but not including ``jitter``, and the same
    on every worker. Raises ``InvalidArgument`` unless ``jitter`` is between 0 seconds and 100 years."""
    share = int.from_bytes(sha256(_name(schedule_id, tick).encode()).digest()[:4]) / 2**32
    return share * seconds("jitter", jitter)


def run_id_of(schedule_id: str, tick: datetime) -> str:
    """Returns the id of the run of a tick: the same on every worker, and a different one for every schedule and
    tick."""
    return str(uuid5(_RUN_IDS, _name(schedule_id, tick)))


def _name(schedule_id: str, tick: datetime) -> str:
    # The text of the moment always has the same length, so no two pairs share a name.
    return f"{_utc('tick', tick).isoformat(timespec='microseconds')} {schedule_id}"


def _utc(argument: str, moment: datetime) -> datetime:
    # Two datetimes in the same time zone are compared by their wall time; in UTC they are compared as moments.
    return aware(argument, moment).astimezone(UTC)


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta()
