"""Ticks are those of a clock that is watched minute by minute, and keep their laws whatever the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from croniter import croniter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from durable.core.schedules.expressions import Cron, Every
from durable.core.schedules.timetable import CatchUp, Timetable
from durable.core.schedules.turns import plan
from tests.core.schedules.moments import LORD_HOWE, MICROSECOND, MINUTE, NEW_YORK, at, following, timetable


class Field(NamedTuple):
    text: str
    values: set[int]


class Expression(NamedTuple):
    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    def __str__(self) -> str:
        return " ".join(field.text for field in self)

    def matches(self, wall: datetime) -> bool:
        day, weekday = wall.day in self.day.values, wall.isoweekday() % 7 in self.weekday.values
        either = self.day.text != "*" and self.weekday.text != "*"
        return (
            wall.minute in self.minute.values
            and wall.hour in self.hour.values
            and wall.month in self.month.values
            and (day or weekday if either else day and weekday)
        )


def watch(expression: Expression, zone: str, after: datetime, until: datetime) -> Iterator[datetime]:
    """Real time fires when the clock shows a match. Otherwise the clock fires whenever it first goes beyond one."""
    moment = after.replace(second=0, microsecond=0) - timedelta(hours=30)
    highest = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    while moment <= until:
        wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        if expression.hour.text == "*":
            matches = expression.matches(wall)
        else:
            matches = False
            while highest < wall:
                highest += MINUTE
                matches |= expression.matches(highest)
        if matches and moment > after:
            yield moment
        moment += MINUTE


@st.composite
def fields(draw: st.DrawFn, low: int, high: int, near: list[int]) -> Field:
    numbers = st.integers(low, high) | st.sampled_from(near)
    match draw(st.sampled_from(["star", "star", "step", "range", "list"])):
        case "star":
            return Field("*", set(range(low, high + 1)))
        case "step":
            step = draw(st.integers(1, min(30, high - low + 1)))
            return Field(f"*/{step}", set(range(low, high + 1, step)))
        case "range":
            first, last, size = draw(numbers), draw(numbers), high - low + 1
            step = draw(st.integers(1, 7))
            end = last if first <= last else last + size
            return Field(f"{first}-{last}/{step}", {low + (each - low) % size for each in range(first, end + 1, step)})
        case _:
            values = draw(st.lists(numbers, min_size=1, max_size=4))
            return Field(",".join(map(str, values)), set(values))


STAR = Field("*", set(range(60)))


EXPRESSIONS = st.builds(
    Expression,
    fields(0, 59, [0, 15, 30, 45, 59]),
    fields(0, 23, [0, 1, 2, 3]),
    st.just(STAR) | fields(1, 31, [1, 5, 8, 29, 30]),
    st.just(STAR) | fields(1, 12, [3, 4, 10, 11]),
    st.just(STAR) | fields(0, 6, [0, 1]),
).filter(lambda expression: expression.weekday.text != "*" or min(expression.day.values) <= 29)


CHANGES = [
    *((NEW_YORK, "2026-03-08 07:00"), (NEW_YORK, "2026-11-01 06:00"), ("UTC", "2026-12-31 23:59")),
    *((LORD_HOWE, "2026-10-03 15:30"), (LORD_HOWE, "2026-04-04 15:00"), ("Asia/Kathmandu", "2026-03-01 00:00")),
    *(("Europe/Dublin", "2026-03-29 01:00"), ("Europe/Dublin", "2026-10-25 01:00")),
    *(("America/Havana", "2026-03-08 05:00"), ("America/Havana", "2026-11-01 05:00")),
    *(("Antarctica/Troll", "2026-03-29 01:00"), ("Antarctica/Troll", "2026-10-25 01:00")),
    *(("Pacific/Apia", "2011-12-30 10:00"), ("Pacific/Chatham", "2026-09-26 14:00"), ("Asia/Kolkata", "2026-03-08")),
    *(("Africa/Casablanca", "2026-02-15 02:00"), ("Africa/Casablanca", "2026-03-22 02:00")),
    *(("Asia/Kathmandu", "1985-12-31 18:30"), ("America/Caracas", "2007-12-09 07:00")),
]


@settings(deadline=None, max_examples=150)
@given(EXPRESSIONS, st.sampled_from(CHANGES), st.integers(-30 * 3600, 6 * 3600))
@example(Expression(Field("30", {30}), Field("2", {2}), STAR, STAR, STAR), (NEW_YORK, "2026-03-08 07:00"), -3600)
def test_ticks_are_those_of_a_watched_clock(expression: Expression, change: tuple[str, str], offset: int) -> None:
    zone, moment = change
    after = at(moment) + timedelta(seconds=offset)
    until = after + timedelta(hours=30)
    subject = timetable(str(expression), zone)

    expected = tuple(watch(expression, zone, after, until))

    assert tuple(each for each in following(subject, after, 40) if each <= until) == expected[:40]
    assert subject.ticks(after, until, 40) == expected[-40:]
    if expected:
        assert subject.last_tick(until) == expected[-1]


@settings(deadline=None)
@given(EXPRESSIONS, st.datetimes(datetime(1971, 1, 1), datetime(2060, 1, 1)))
def test_without_changes_of_the_clock_ticks_are_those_of_croniter(expression: Expression, after: datetime) -> None:
    plain = " ".join("*" if field.text == "*" else ",".join(map(str, field.values)) for field in expression)

    expected = croniter(plain, after.replace(microsecond=0)).get_next(datetime)

    assert timetable(str(expression)).next_tick(after.replace(tzinfo=UTC)) == expected.replace(tzinfo=UTC)


SCHEDULES = st.builds(lambda expression: Cron(str(expression)), EXPRESSIONS) | st.builds(
    Every, st.timedeltas(timedelta(milliseconds=1), timedelta(days=400))
)


ZONES = st.sampled_from([zone for zone, _ in CHANGES])


MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))


TIMETABLES = st.builds(
    lambda schedule, zone, anchor, start, length: Timetable(
        schedule=schedule,
        timezone=zone,
        anchor=anchor,
        start=start,
        end=None if start is None or length is None else start + length,
    ),
    SCHEDULES,
    ZONES,
    MOMENTS,
    st.none() | MOMENTS,
    st.none() | st.timedeltas(timedelta(0), timedelta(days=3000)),
)


@settings(deadline=None)
@given(TIMETABLES, MOMENTS)
def test_next_ticks_are_later_and_last_ticks_lead_back_to_them(subject: Timetable, after: datetime) -> None:
    previous = after
    for tick in following(subject, after, 5):
        assert tick > previous
        assert tick.tzinfo is UTC
        assert subject.last_tick(tick) == tick
        before = subject.last_tick(tick - MICROSECOND)
        assert before is None or before <= previous
        assert subject.ticks(previous, tick, 9) == (tick,)
        assert subject.start is None or tick >= subject.start
        assert subject.end is None or tick <= subject.end
        previous = tick


@settings(deadline=None)
@given(TIMETABLES, MOMENTS, st.integers(1, 8), st.integers(1, 8))
def test_ticks_are_the_last_of_those_that_follow_each_other(
    subject: Timetable, after: datetime, count: int, limit: int
) -> None:
    chain = tuple(following(subject, after, count))

    if chain:
        assert subject.ticks(after, chain[-1], limit) == chain[-limit:]


@settings(deadline=None)
@given(TIMETABLES, MOMENTS, st.timedeltas(timedelta(0), timedelta(days=3)), st.sampled_from(["one", "all", "skip"]))
def test_a_plan_goes_on_after_now_and_begins_nothing_later_than_now(
    subject: Timetable, after: datetime, late: timedelta, catch_up: CatchUp
) -> None:
    stored = subject.next_tick(after)
    if stored is None:
        return
    now = stored + late

    due = plan(subject, stored, now, catch_up, most=20)

    assert due.next_tick == subject.next_tick(now)
    assert due.next_tick is None or due.next_tick > now
    assert due.ticks == tuple(sorted(set(due.ticks)))
    assert all(stored <= tick <= now for tick in due.ticks)
    if catch_up == "all":
        assert due.ticks == subject.ticks(stored - MICROSECOND, now, 20)
    else:
        assert due.ticks == (subject.last_tick(now),) or (catch_up == "skip" and due.ticks == ())
