"""Intervals with an anchor of their own fire at all multiples of the interval before and after it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.core.schedules.expressions import Every
from tests.core.schedules.moments import LORD_HOWE, MICROSECOND, NEW_YORK, at, following, timetable

DAY = timedelta(days=1)
ZONES = ["UTC", NEW_YORK, LORD_HOWE, "Europe/Dublin", "Asia/Kathmandu", "America/Havana", "Pacific/Chatham"]
moments = st.datetimes(datetime(2024, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))


def test_every_two_hours_from_ten_or_from_eleven() -> None:
    even = timetable(Every(7200, anchor=at("2026-03-12 10:00")), anchor=at("2026-03-12 15:30"))
    odd = timetable(Every(7200, phase=3600), anchor=at("2026-03-12 15:30"))

    assert [tick.hour for tick in following(even, at("2026-03-12 15:30"), 3)] == [16, 18, 20]
    assert [tick.hour for tick in following(odd, at("2026-03-12 15:30"), 3)] == [17, 19, 21]
    assert even.last_tick(at("2020-01-01 11:00")) == at("2020-01-01 10:00")


def test_every_second_monday_at_nine_whatever_the_clock_does() -> None:
    zone = ZoneInfo("Europe/Berlin")
    monday = datetime(2026, 3, 2, 9, tzinfo=zone)
    every = timetable(Every(timedelta(weeks=2), anchor=monday), "Europe/Berlin")

    ticks = [tick.astimezone(zone) for tick in following(every, at("2026-03-01 00:00"), 30)]

    assert ticks[0] == monday
    assert {(tick.weekday(), tick.hour, tick.minute) for tick in ticks} == {(0, 9, 0)}
    assert {later.date() - earlier.date() for earlier, later in pairwise(ticks)} == {14 * DAY}


@pytest.mark.parametrize("when", ["2026-03-01", "2031-01-01"])
def test_an_anchor_may_lie_in_the_past_or_the_future(when: str) -> None:
    every = timetable(Every(3600, anchor=at(f"{when} 00:20")))

    assert every.next_tick(at("2026-03-12 10:00")) == at("2026-03-12 10:20")


def test_intervals_of_hours_count_real_time() -> None:
    every = timetable(Every(timedelta(hours=12), anchor=at("2026-03-07 09:00", NEW_YORK)), NEW_YORK)
    spring = at("2026-03-08 00:00", NEW_YORK)

    assert [tick.astimezone(ZoneInfo(NEW_YORK)).hour for tick in following(every, spring, 2)] == [10, 22]


@settings(deadline=None)
@given(st.timedeltas(timedelta(milliseconds=1), timedelta(days=400)).filter(lambda each: each % DAY), moments, moments)
def test_each_tick_is_a_multiple_away_from_the_anchor(interval: timedelta, anchor: datetime, after: datetime) -> None:
    every = timetable(Every(interval, anchor=anchor), NEW_YORK)

    tick, last = every.next_tick(after), every.last_tick(after)

    assert tick is not None
    assert last is not None
    assert not (tick - anchor) % interval
    assert last <= after < tick == last + interval


@settings(deadline=None)
@given(st.integers(1, 40), moments, st.sampled_from(ZONES), moments)
def test_whole_days_are_counted_by_the_calendar(days: int, anchor: datetime, name: str, after: datetime) -> None:
    zone = ZoneInfo(name)
    every = timetable(Every(days * DAY, anchor=anchor), name)
    shown = anchor.astimezone(zone).replace(tzinfo=None)

    tick, last = every.next_tick(after), every.last_tick(after)

    # Day by day: the first moment at which the clock has reached the time of the anchor.
    expected: list[datetime] = []
    start = after.astimezone(zone).date() - timedelta(days=days + 2)
    for offset in range(2 * days + 5):
        day = start + timedelta(days=offset)
        if not (day - shown.date()).days % days:
            expected.append(_reached(day, shown, zone))
    assert tick == min(each for each in expected if each > after)
    assert last == max(each for each in expected if each <= after)


def _reached(day: date, shown: datetime, zone: ZoneInfo) -> datetime:
    wall = datetime.combine(day, shown.time())
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    # In a gap: by halves, between a moment before it and one after it.
    low, high = moment - 3 * timedelta(hours=1), moment + 3 * timedelta(hours=1)
    while high - low > MICROSECOND:
        middle = low + (high - low) // 2
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            low = middle
        else:
            high = middle
    return high


def test_no_tick_lies_outside_the_bounds() -> None:
    anchor = at("2026-03-02 09:00")
    every = timetable(Every(7 * DAY, anchor=anchor), start=at("2026-03-10 00:00"), end=at("2026-03-24 00:00"))

    assert list(following(every, at("2026-01-01 00:00"), 9)) == [at("2026-03-16 09:00"), at("2026-03-23 09:00")]
    assert every.ticks(at("2026-01-01 00:00"), at("2027-01-01 00:00"), 9) == (
        at("2026-03-16 09:00"),
        at("2026-03-23 09:00"),
    )


@pytest.mark.parametrize("days", [1, 400])
def test_it_ends_with_the_calendar(days: int) -> None:
    every = timetable(Every(days * DAY, anchor=at("9000-01-01 00:00")), NEW_YORK)

    assert every.next_tick(at("9997-12-31 12:00")) is None
    assert every.last_tick(at("0003-01-01 12:00")) is None
