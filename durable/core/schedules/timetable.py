"""When a schedule fires: its ticks, in a time zone, and the ticks for which a worker begins runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Literal, TypeAlias
from uuid import UUID, uuid5

import msgspec
from msgspec.structs import force_setattr

from durable.core.durations import aware, seconds
from durable.core.errors import InvalidArgument
from durable.core.schedules.expressions import Cron, Every, Schedule, check_timezone, parse_schedule
from durable.core.schedules.fields import fields_of
from durable.core.schedules.ticks import Counted, Daily, OfTheClock, Ticks

CatchUp: TypeAlias = Literal["one", "all", "skip"]
"""What happens to ticks that were missed: the last one fires, all of them fire, or none fires that is more than a
minute late."""

Overlap: TypeAlias = Literal["allow", "skip", "cancel_other", "buffer_one"]
"""What a tick does while the run of an earlier tick is still going: run alongside it, do nothing, cancel it, or run
after it."""

_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_ON_TIME = timedelta(seconds=60)
_RUN_IDS = UUID("6f0e7b0c-5d1e-4b52-9a37-c2f1d4a8e963")


class Timetable(msgspec.Struct, frozen=True, kw_only=True):
    """The ticks of a schedule, none of them before ``start`` or after ``end`` (``None``: no bound). Raises
    ``InvalidArgument``.

    An ``Every`` without an anchor of its own counts from ``anchor``, which is not itself a tick. ``Cron``, and an
    ``Every`` with an anchor whose interval is in whole days, read the wall clock of ``timezone``. A time that the clock
    skips fires when the gap ends, and all times in one gap fire together; a time that occurs twice fires the first
    time. If the hour is literally ``*``, real time counts instead: a skipped time does not fire, and a time that occurs
    twice fires twice.
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
    def _ticks(self) -> Ticks:
        match self.schedule:
            case Every(anchor=None):
                return Counted(self.schedule.period, self.anchor, first=1)
            case Every(anchor=datetime() as anchor):
                period = self.schedule.period
                if period % _DAY:
                    return Counted(period, anchor)
                zone = check_timezone(self.timezone)
                return Daily(period, anchor.astimezone(zone).replace(tzinfo=None), zone)
            case Cron(expression):
                return OfTheClock(fields_of(expression), check_timezone(self.timezone))
            case _:
                raise AssertionError(f"unexpected {self.schedule!r}")


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
