"""When a schedule fires next.

All in UTC, on Thursday 2026-03-12 unless said.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from durable.core.errors import InvalidArgument
from durable.core.schedules.expressions import Every, parse_schedule
from durable.core.schedules.timetable import Timetable


def at(text: str) -> datetime:
    """``10:05``, ``16 09:00`` (day), ``04-01 00:00`` (month and day), or the whole moment."""
    return datetime.fromisoformat("2026-03-12 "[: max(16 - len(text), 0)] + text).replace(tzinfo=UTC)


def next_tick(text: str, after: str) -> datetime | None:
    return Timetable(schedule=parse_schedule(text), anchor=at(after)).next_tick(at(after))


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        pytest.param("@every 5m", "10:00", "10:05", id="58-every-5-minutes"),
        pytest.param("* * * * *", "2026-03-12 10:30:15", "10:31", id="61-every-minute"),
        pytest.param("30 9 * * *", "08:00", "09:30", id="62-later-today"),
        pytest.param("30 9 * * *", "10:00", "13 09:30", id="62-tomorrow"),
        pytest.param("*/5 * * * *", "10:12", "10:15", id="63-step"),
        pytest.param("0 9 * * 1", "10:00", "16 09:00", id="64-day-of-week"),
        pytest.param("0 0 1 * *", "15 00:00", "04-01 00:00", id="65-first-of-month"),
        pytest.param("0 0 1 1 *", "10:00", "2027-01-01 00:00", id="66-first-of-year"),
        pytest.param("0 9-17 * * 1-5", "14 08:00", "16 09:00", id="67-office-hours-after-a-saturday"),
        pytest.param("0,15,30,45 * * * *", "10:16", "10:30", id="68-list"),
        pytest.param("0 9 * * 7", "10:00", "15 09:00", id="69-seven-is-sunday"),
        pytest.param("0 0 15 * 1", "10:00", "15 00:00", id="70-either-day-field"),
        pytest.param("1-30/10 * * * *", "10:05", "10:11", id="71-range-with-step"),
        pytest.param("0 0 * * *", "2026-12-31 23:59", "2027-01-01 00:00", id="78-year-boundary"),
        pytest.param("0 9 * * *", "09:30", "13 09:00", id="79-the-hour-has-passed"),
    ],
)
def test_a_schedule_fires_next(text: str, after: str, expected: str) -> None:
    assert next_tick(text, after) == at(expected)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("@every -1s", id="59-negative-interval"),
        pytest.param("@every 0s", id="59-no-interval"),
        pytest.param("@every abc", id="59-not-a-duration"),
        pytest.param("* * *", id="60-three-fields"),
    ],
)
def test_a_schedule_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="schedule must be "):
        parse_schedule(text)


def test_72_the_next_tick_is_the_same_when_asked_twice() -> None:
    timetable = Timetable(schedule=parse_schedule("*/7 3-20 * * *"), anchor=at("10:00"))

    assert timetable.next_tick(at("10:00")) == timetable.next_tick(at("10:00")) == at("10:07")


def test_73_ticks_follow_each_other() -> None:
    timetable = Timetable(schedule=parse_schedule("*/15 * * * *"), anchor=at("10:00"))
    moment, ticks = at("10:00"), list[datetime]()
    for _ in range(5):
        following = timetable.next_tick(moment)
        assert following is not None
        ticks.append(following)
        moment = following

    assert ticks == [at("10:15"), at("10:30"), at("10:45"), at("11:00"), at("11:15")]


def test_74_an_interval_counts_from_its_anchor() -> None:
    timetable = Timetable(schedule=Every(timedelta(seconds=30)), anchor=at("10:00"))

    assert timetable.next_tick(at("10:00")) == at("2026-03-12 10:00:30")
    assert timetable.next_tick(at("2026-03-12 10:00:30")) == at("10:01")
