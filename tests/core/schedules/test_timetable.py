from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable.core.errors import InvalidArgument
from durable.core.schedules.expressions import Cron, Every, Schedule
from durable.core.schedules.timetable import Timetable, jitter_of, run_id_of
from durable.core.schedules.turns import plan
from tests.core.schedules.moments import LORD_HOWE, MICROSECOND, MINUTE, NEW_YORK, at, following, timetable


def fired(expression: str, zone: str, day: str) -> list[str]:
    """The ticks of that local day, as the wall clock shows them; ``*``: for the second time."""
    start = at(day, zone)
    end = at(str(datetime.fromisoformat(day) + timedelta(days=1)), zone)
    ticks = timetable(expression, zone).ticks(start - MICROSECOND, end - MICROSECOND, 5000)
    shown = [tick.astimezone(ZoneInfo(zone)) for tick in ticks]
    return [f"{local:%H:%M}" + "*" * local.fold for local in shown]


# Spring in New York: 2026-03-08, 02:00 is 03:00. Autumn: 2026-11-01, 02:00 is 01:00 again.


@pytest.mark.parametrize(
    ("expression", "spring", "autumn"),
    [
        ("30 1 * * *", ["01:30"], ["01:30"]),
        ("30 2 * * *", ["03:00"], ["02:30"]),
        ("0 2 * * *", ["03:00"], ["02:00"]),
        ("0 3 * * *", ["03:00"], ["03:00"]),
        ("*/20 2 * * *", ["03:00"], ["02:00", "02:20", "02:40"]),
        ("0,30 2,3 * * *", ["03:00", "03:30"], ["02:00", "02:30", "03:00", "03:30"]),
        ("30 0-3 * * *", ["00:30", "01:30", "03:00", "03:30"], ["00:30", "01:30", "02:30", "03:30"]),
        ("59 1 * * *", ["01:59"], ["01:59"]),
    ],
)
def test_a_time_that_is_skipped_fires_after_the_gap_and_one_that_comes_twice_fires_once(
    expression: str, spring: list[str], autumn: list[str]
) -> None:
    assert fired(expression, NEW_YORK, "2026-03-08") == spring
    assert fired(expression, NEW_YORK, "2026-11-01") == autumn


def test_every_hour_counts_real_time() -> None:
    spring, autumn = (fired("0 * * * *", NEW_YORK, day) for day in ("2026-03-08", "2026-11-01"))

    assert spring == [f"{hour:02}:00" for hour in range(24) if hour != 2]
    assert autumn == ["00:00", "01:00", "01:00*"] + [f"{hour:02}:00" for hour in range(2, 24)]
    assert fired("30 * * * *", NEW_YORK, "2026-03-08")[:3] == ["00:30", "01:30", "03:30"]


def test_every_quarter_of_an_hour_counts_real_time() -> None:
    spring, autumn = (fired("*/15 * * * *", NEW_YORK, day) for day in ("2026-03-08", "2026-11-01"))

    assert len(spring) == 23 * 4
    assert len(autumn) == 25 * 4
    assert autumn[4:13] == ["01:00", "01:15", "01:30", "01:45", "01:00*", "01:15*", "01:30*", "01:45*", "02:00"]


def test_hours_that_are_spelled_out_are_read_off_the_clock() -> None:
    assert len(fired("0 0-23 * * *", NEW_YORK, "2026-11-01")) == 24
    assert fired("0 */1 * * *", NEW_YORK, "2026-11-01")[:3] == ["00:00", "01:00", "02:00"]


def test_the_first_tick_after_the_repeated_hour_is_found_from_within_it() -> None:
    second_time = datetime(2026, 11, 1, 1, 10, fold=1, tzinfo=ZoneInfo(NEW_YORK))

    assert timetable("30 1 * * *", NEW_YORK).next_tick(second_time) == at("2026-11-02 01:30", NEW_YORK)
    assert timetable("30 1 * * *", NEW_YORK).last_tick(second_time) == at("2026-11-01 05:30")
    assert timetable("30 * * * *", NEW_YORK).next_tick(second_time) == at("2026-11-01 06:30")
    assert timetable("30 * * * *", NEW_YORK).last_tick(second_time) == at("2026-11-01 05:30")


def test_lord_howe_shifts_its_clock_by_half_an_hour() -> None:
    # Spring: 2026-10-04, 02:00 is 02:30. Autumn: 2026-04-05, 02:00 is 01:30 again.
    assert fired("15 2 * * *", LORD_HOWE, "2026-10-04") == ["02:30"]
    assert fired("0,10,20,30,40 2 * * *", LORD_HOWE, "2026-10-04") == ["02:30", "02:40"]
    assert fired("45 1 * * *", LORD_HOWE, "2026-04-05") == ["01:45"]
    assert fired("*/15 * * * *", LORD_HOWE, "2026-04-05")[6:11] == ["01:30", "01:45", "01:30*", "01:45*", "02:00"]
    assert fired("*/15 * * * *", LORD_HOWE, "2026-10-04")[7:10] == ["01:45", "02:30", "02:45"]
    assert timetable("0 9 * * *", LORD_HOWE).next_tick(at("2026-10-04 00:00")) == at("2026-10-04 22:00")


@pytest.mark.parametrize(("zone", "minute"), [("Asia/Kolkata", 30), ("Asia/Kathmandu", 15)])
def test_zones_off_by_parts_of_an_hour_fire_by_their_own_clock(zone: str, minute: int) -> None:
    midnight = at("2026-03-12 00:00")

    assert timetable("0 9 * * *", zone).next_tick(midnight) == at(f"2026-03-12 03:{minute}")
    assert timetable("0 * * * *", zone).next_tick(midnight) == at(f"2026-03-12 00:{minute}")


def test_a_day_that_a_zone_left_out_fires_at_its_end() -> None:
    # Samoa went from 2011-12-29 24:00 straight to 2011-12-31 00:00.
    samoa = timetable("*/5 0,9 30 12 *", "Pacific/Apia")

    assert samoa.next_tick(at("2011-12-30 09:59")) == at("2011-12-30 10:00") == at("2011-12-31", "Pacific/Apia")
    assert samoa.next_tick(at("2011-12-30 10:00")) == at("2012-12-30", "Pacific/Apia")
    assert timetable("* * 30 12 *", "Pacific/Apia").next_tick(at("2011-01-01")) == at("2012-12-30", "Pacific/Apia")


def test_offsets_of_seconds_are_respected() -> None:
    zone = "Africa/Monrovia"  # 44 minutes and 30 seconds behind UTC until 1972-01-07 00:00 there, then in UTC

    assert timetable("30 0 * * *", zone).next_tick(at("1972-01-06 12:00")) == at("1972-01-07 00:44:30")
    assert timetable("0 9 * * *", zone).next_tick(at("1972-01-05 12:00")) == at("1972-01-06 09:44:30")


def test_the_29th_of_february_comes_every_four_years_but_for_1900_and_2100() -> None:
    leap_day = timetable("0 0 29 2 *")

    assert leap_day.next_tick(at("2026-03-12")) == at("2028-02-29")
    assert leap_day.next_tick(at("2096-02-29")) == at("2104-02-29")
    assert leap_day.last_tick(at("2026-03-12")) == at("2024-02-29")
    assert leap_day.last_tick(at("2104-02-28")) == at("2096-02-29")


def test_a_short_month_is_left_out() -> None:
    assert timetable("0 0 31 * *").next_tick(at("2026-03-31")) == at("2026-05-31")
    assert timetable("0 0 31 * *").last_tick(at("2026-05-30")) == at("2026-03-31")


def test_every_does_not_drift_and_does_not_know_the_clock_of_a_zone() -> None:
    anchor, interval = at("2026-03-07 10:00:00.123456"), timedelta(hours=1, microseconds=1)
    steady = timetable(Every(interval), NEW_YORK, anchor=anchor)

    ticks = list(following(steady, anchor, 100))

    assert [tick - anchor for tick in ticks] == [number * interval for number in range(1, 101)]


def test_every_counts_from_its_anchor_which_is_no_tick() -> None:
    steady = timetable(Every(60), anchor=at("2026-03-12 10:00"))

    assert steady.next_tick(at("2020-01-01")) == at("2026-03-12 10:01")
    assert steady.last_tick(at("2026-03-12 10:00:59")) is None
    assert steady.last_tick(at("2026-03-12 10:01")) == at("2026-03-12 10:01")


def test_an_interval_written_as_cron_is_an_interval() -> None:
    assert timetable("@every 1m") == timetable(Every(60))
    assert type(timetable("@every 1m").schedule) is Every


def test_no_tick_lies_outside_the_bounds_and_the_bounds_belong_to_them() -> None:
    bounded = timetable("0 9 * * *", start=at("2026-03-12 09:00"), end=at("2026-03-14 09:00"))
    days = (at("2026-03-12 09:00"), at("2026-03-13 09:00"), at("2026-03-14 09:00"))

    assert tuple(following(bounded, at("2020-01-01"), 9)) == days
    assert bounded.ticks(at("2020-01-01"), at("2030-01-01"), 9) == days
    assert bounded.next_tick(days[2]) is None
    assert bounded.last_tick(days[0] - MICROSECOND) is None
    assert bounded.last_tick(at("2030-01-01")) == days[2]


def test_a_start_within_the_repeated_hour_does_not_bring_back_the_first_one() -> None:
    zone = ZoneInfo(NEW_YORK)
    start = datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=zone)
    first_time = start.replace(fold=0)

    assert timetable("30 1 * * *", NEW_YORK, start=start).next_tick(first_time) == at("2026-11-02 06:30")
    assert timetable("30 * * * *", NEW_YORK, start=start).next_tick(first_time) == start.astimezone(UTC)


@pytest.mark.parametrize("schedule", [Every(timedelta(days=36525)), Cron("0 0 1 1 *")])
def test_a_schedule_ends_with_the_calendar(schedule: Schedule) -> None:
    last = timetable(schedule, anchor=at("9000-01-01")).last_tick(at("9997-12-31"))

    assert last is not None
    assert timetable(schedule, anchor=at("9000-01-01")).next_tick(last) is None
    assert timetable("0 0 1 1 *").last_tick(at("0003-01-01")) is None


@pytest.mark.parametrize("expression", ["* * * * *", "*/5 1-5 * * *"])
def test_ten_years_of_missed_minutes_cost_no_more_than_the_last_few(
    expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[datetime]()
    last_tick = Timetable.last_tick
    monkeypatch.setattr(Timetable, "last_tick", lambda self, until: asked.append(until) or last_tick(self, until))

    ticks = timetable(expression, NEW_YORK).ticks(at("2016-03-12"), at("2026-03-12"), 10)

    assert len(ticks) == len(asked) == 10


def test_no_ticks_are_asked_for() -> None:
    assert timetable("* * * * *").ticks(at("2026-01-01"), at("2027-01-01"), 0) == ()
    assert timetable("* * * * *").ticks(at("2027-01-01"), at("2026-01-01"), 5) == ()


def test_moments_of_any_zone_are_compared_as_moments() -> None:
    zone = ZoneInfo(NEW_YORK)
    bounded = timetable("0 * * * *", start=datetime(2026, 3, 12, 6, tzinfo=zone))

    assert bounded.start == at("2026-03-12 10:00")
    assert bounded.start is not None
    assert bounded.start.tzinfo is UTC
    assert bounded.next_tick(datetime(2026, 3, 12, 6, 30, tzinfo=zone)) == at("2026-03-12 11:00")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("schedule", "* * * * *"), ("schedule", None), ("timezone", "Mars/Olympus"), ("timezone", None)),
        *(("anchor", datetime(2026, 1, 1)), ("anchor", None), ("start", datetime(2026, 1, 1)), ("start", "now")),
        *(("end", datetime(2026, 1, 1)), ("end", at("2026-03-11"))),
    ],
)
def test_a_timetable_refuses_what_cannot_be_meant(argument: str, value: Any) -> None:
    usual: dict[str, Any] = {"schedule": Every(1), "anchor": at("2026-03-12"), "start": at("2026-03-12")}
    with pytest.raises(InvalidArgument, match=f"{argument} must be "):
        Timetable(**usual | {argument: value})


def test_naive_moments_are_refused() -> None:
    naive, minutely = datetime(2026, 1, 1), timetable("* * * * *")
    with pytest.raises(InvalidArgument, match="after must be "):
        minutely.next_tick(naive)
    with pytest.raises(InvalidArgument, match="until must be "):
        minutely.last_tick(naive)
    with pytest.raises(InvalidArgument, match="now must be "):
        plan(minutely, at("2026-01-01"), naive, "one")
    with pytest.raises(InvalidArgument, match="tick must be "):
        run_id_of("a", naive)


# What all workers must agree on.

TICKS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([UTC, ZoneInfo(NEW_YORK)]))
IDS = st.text(st.characters(codec="utf-8"), min_size=1)


@given(IDS, TICKS, st.floats(1e-6, 1e6))
def test_jitter_is_less_than_its_bound_and_the_same_everywhere(schedule_id: str, tick: datetime, jitter: float) -> None:
    delay = jitter_of(schedule_id, tick, jitter)

    assert 0 <= delay < jitter
    assert delay == jitter_of(schedule_id, tick.astimezone(ZoneInfo("Asia/Tokyo")), jitter)
    assert jitter_of(schedule_id, tick, 0) == 0


def test_jitter_spreads_ticks_and_schedules() -> None:
    ticks = [jitter_of("report", at("2026-03-12") + number * MINUTE, 60) for number in range(1000)]
    schedules = [jitter_of(f"report-{number}", at("2026-03-12"), 60) for number in range(1000)]

    for delays in (ticks, schedules):
        assert all(60 < sum(start <= delay < start + 6 for delay in delays) < 140 for start in range(0, 60, 6))


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), None, "1", True])
def test_jitter_that_cannot_be_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="jitter must be "):
        jitter_of("report", at("2026-03-12"), bad)


def test_the_id_of_a_run_never_changes() -> None:
    assert run_id_of("report", at("2026-03-12 09:00")) == "a36a37b2-0fb8-5263-a390-f273e9f8de02"
    assert jitter_of("report", at("2026-03-12 09:00"), 60) == 3.3152282796800137


@given(st.tuples(IDS, TICKS), st.tuples(IDS, TICKS))
@example(("report", at("2026-03-12")), ("report", at("2026-03-12") + MICROSECOND))
@example(("report", at("2026-03-12")), ("report 0", at("2026-03-12")))
def test_two_runs_share_an_id_only_if_schedule_and_tick_are_the_same(
    one: tuple[str, datetime], other: tuple[str, datetime]
) -> None:
    is_same = one[0] == other[0] and one[1].astimezone(UTC) == other[1].astimezone(UTC)

    assert (run_id_of(*one) == run_id_of(*other)) is is_same
    assert run_id_of(*one) == run_id_of(one[0], one[1].astimezone(ZoneInfo("Asia/Tokyo")))
