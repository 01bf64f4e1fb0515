"""The ticks of intervals and of wall clocks, without bounds."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import msgspec

from durable.core.schedules.fields import Fields

_SECOND = timedelta(seconds=1)

# The range of moments that every time zone can show; outside of it a schedule never fires.
_FIRST, _LAST = date(3, 1, 2).toordinal(), date(9997, 12, 30).toordinal()


class Ticks(Protocol):
    """The ticks of a schedule without bounds, in UTC."""

    def after(self, moment: datetime) -> datetime | None:
        """Returns the first tick later than the moment, ``None`` if there is none."""
        ...

    def until(self, moment: datetime) -> datetime | None:
        """Returns the last tick not later than the moment, ``None`` if there is none."""
        ...


class Counted(msgspec.Struct, frozen=True):
    """Ticks at ``anchor + k * period``, for k from ``first`` on, or for all k."""

    period: timedelta
    anchor: datetime
    first: int | None = None

    def after(self, moment: datetime) -> datetime | None:
        number = (moment - self.anchor) // self.period + 1
        return self._tick(number if self.first is None else max(number, self.first))

    def until(self, moment: datetime) -> datetime | None:
        number = (moment - self.anchor) // self.period
        return self._tick(number) if self.first is None or number >= self.first else None

    def _tick(self, number: int) -> datetime | None:
        try:
            tick = self.anchor + number * self.period
        except OverflowError:
            return None
        return tick if _FIRST <= tick.toordinal() <= _LAST else None


class Daily(msgspec.Struct, frozen=True):
    """Ticks when the clock of a zone shows ``anchor + k * period``, for all k; the period is in whole days."""

    period: timedelta
    anchor: datetime
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        near = self._near(moment)
        return next((tick for tick in map(self._tick, range(near - 1, near + 3)) if tick and tick > moment), None)

    def until(self, moment: datetime) -> datetime | None:
        near = self._near(moment)
        return next((tick for tick in map(self._tick, range(near + 1, near - 3, -1)) if tick and tick <= moment), None)

    def _near(self, moment: datetime) -> int:
        """Returns the number of a tick that is at most one away. By UTC, because a wall clock may skip a day."""
        return (moment.replace(tzinfo=None) - self.anchor) // self.period

    def _tick(self, number: int) -> datetime | None:
        try:
            wall = self.anchor + number * self.period
        except OverflowError:
            return None
        return moment_of(wall, self.zone) if _FIRST <= wall.toordinal() <= _LAST else None


class OfTheClock(msgspec.Struct, frozen=True):
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
        if not self.fields.is_hourly:
            return moment_of(wall, self.zone)
        moment = wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
        return moment if moment.astimezone(self.zone).replace(tzinfo=None) == wall else None


def moment_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """Returns when the clock first shows that wall time or, if it skips it, the first moment after the gap; in UTC."""
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    local = wall.replace(tzinfo=zone)
    before, beyond = _offset(local.replace(fold=0)), _offset(local.replace(fold=1))
    earlier = (wall - beyond).replace(tzinfo=UTC)
    index = bisect_left(
        range((beyond - before) // _SECOND),
        True,
        key=lambda passed: _offset((earlier + passed * _SECOND).astimezone(zone)) != before,
    )
    return earlier + index * _SECOND


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta()
