"""Which of the ticks that were missed are made up for."""

from __future__ import annotations

from datetime import datetime

import pytest

from durable.core.errors import InvalidArgument
from durable.core.schedules.timetable import CatchUp
from durable.core.schedules.turns import Due, plan
from tests.core.schedules.moments import MICROSECOND, at, timetable

HOURLY = timetable("0 * * * *")


@pytest.mark.parametrize(
    ("catch_up", "now", "expected"),
    [
        ("one", "12:00", ["12:00"]),
        ("one", "15:30", ["15:00"]),
        ("all", "12:00:01", ["12:00"]),
        ("all", "15:30", ["12:00", "13:00", "14:00", "15:00"]),
        ("skip", "12:00", ["12:00"]),
        ("skip", "12:01", ["12:00"]),
        ("skip", "12:01:00.000001", []),
        ("skip", "15:00:59", ["15:00"]),
        ("skip", "15:30", []),
    ],
)
def test_missed_ticks_are_caught_up_with_as_wanted(catch_up: CatchUp, now: str, expected: list[str]) -> None:
    due = plan(HOURLY, at("2026-03-12 12:00"), at(f"2026-03-12 {now}"), catch_up)

    assert [f"{tick:%H:%M}" for tick in due.ticks] == expected
    assert due.next_tick == at(f"2026-03-12 {int(now[:2]) + 1}:00")


def test_only_so_many_missed_ticks_are_caught_up_with() -> None:
    due = plan(timetable("* * * * *"), at("2016-03-12"), at("2026-03-12"), "all")

    assert len(due.ticks) == 1000
    assert due.ticks[-1] == at("2026-03-12")
    assert plan(HOURLY, at("2026-03-12 12:00"), at("2026-03-12 15:30"), "all", most=2).ticks == due_ticks(14, 15)


def due_ticks(*hours: int) -> tuple[datetime, ...]:
    return tuple(at(f"2026-03-12 {hour}:00") for hour in hours)


@pytest.mark.parametrize("most", [0, -1])
def test_a_plan_for_no_ticks_is_refused(most: int) -> None:
    with pytest.raises(InvalidArgument, match="most must be "):
        plan(HOURLY, at("2026-03-12 12:00"), at("2026-03-12 12:00"), "all", most=most)


@pytest.mark.parametrize("catch_up", ["one", "all", "skip"])
def test_nothing_is_due_before_the_stored_tick(catch_up: CatchUp) -> None:
    stored = at("2026-03-12 12:00")

    assert plan(HOURLY, stored, stored - MICROSECOND, catch_up) == Due((), stored)


@pytest.mark.parametrize("catch_up", ["one", "all", "skip"])
def test_a_stored_tick_that_the_timetable_does_not_give_any_more_still_fires(catch_up: CatchUp) -> None:
    stored = at("2026-03-12 12:07")

    assert plan(HOURLY, stored, stored, catch_up) == Due((stored,), at("2026-03-12 13:00"))
    assert plan(HOURLY, stored, at("2026-03-12 13:00"), "all").ticks == (stored, at("2026-03-12 13:00"))


def test_after_the_last_tick_nothing_is_due_ever_again() -> None:
    ended = timetable("0 * * * *", end=at("2026-03-12 13:59"))

    assert plan(ended, at("2026-03-12 12:00"), at("2026-03-12 15:00"), "one") == Due(due_ticks(13), None)
