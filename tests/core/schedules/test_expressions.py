from __future__ import annotations

import math
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.errors import InvalidArgument
from durable.core.schedules.expressions import Cron, Every, check_timezone, parse_schedule
from durable.core.schedules.fields import fields_of

CENTURY = timedelta(days=36525)


def minutes_of(field: str) -> list[int]:
    return [each.minute for each in fields_of(f"{field} 0 * * *").times]


def weekdays_of(field: str) -> set[int]:
    return set(fields_of(f"0 0 * * {field}").weekdays)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("*", list(range(60))),
        ("7", [7]),
        ("07", [7]),
        ("*/25", [0, 25, 50]),
        ("*/60", [0]),
        ("50-10/10", [0, 10, 50]),
        ("58-1", [0, 1, 58, 59]),
        ("10/20", [10, 30, 50]),
        ("59/15", [59]),
        ("5-5", [5]),
        ("5-5/2", [5]),
        ("1-30/10", [1, 11, 21]),
        ("45,0,15-17,16", [0, 15, 16, 17, 45]),
        ("*/30,5", [0, 5, 30]),
        ("*,5", list(range(60))),
        ("0-59", list(range(60))),
    ],
)
def test_a_field_is_a_list_of_numbers_ranges_and_steps(field: str, expected: list[int]) -> None:
    assert minutes_of(field) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("*", {0, 1, 2, 3, 4, 5, 6}),
        *(("0", {0}), ("7", {0}), ("SUN", {0}), ("0,7", {0}), ("7-7", {0}), ("sun-sun", {0}), ("7/2", {0})),
        *(("0-7", {0, 1, 2, 3, 4, 5, 6}), ("1-7", {0, 1, 2, 3, 4, 5, 6}), ("*/2", {0, 2, 4, 6})),
        *(("MON-FRI", {1, 2, 3, 4, 5}), ("mon,Wed", {1, 3}), ("5-7", {0, 5, 6}), ("SAT-SUN", {0, 6})),
        *(("FRI-MON", {5, 6, 0, 1}), ("5-0", {5, 6, 0}), ("7-2", {0, 1, 2}), ("FRI-MON/2", {5, 0}), ("7-0", {0})),
        *(("1-7/2", {0, 1, 3, 5}), ("2-7/2", {2, 4, 6}), ("1-7/4", {1, 5}), ("4/2", {4, 6})),
    ],
)
def test_0_and_7_are_sunday_and_weekdays_have_names(field: str, expected: set[int]) -> None:
    assert weekdays_of(field) == expected


@pytest.mark.parametrize(
    ("macro", "fields"),
    [
        *(("@yearly", "0 0 1 1 *"), ("@annually", "0 0 1 1 *"), ("@monthly", "0 0 1 * *"), ("@weekly", "0 0 * * 0")),
        *(("@daily", "0 0 * * *"), ("@midnight", "0 0 * * *"), ("@hourly", "0 * * * *"), (" @Daily ", "0 0 * * *")),
    ],
)
def test_macros_are_kept_as_their_fields(macro: str, fields: str) -> None:
    assert str(Cron(macro)) == str(parse_schedule(macro)) == fields


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("0 0 15W * *", "nearest to a day: let it fire on all days in question"),
        ("0 0 LW * *", "nearest to a day"),
        ("0 0 L-3 * *", "such as '25-30'"),
        ("*/10 * * * * *", "without seconds and years: leave these fields out, and for less than a minute write"),
        ("0 0 12 * * ? 2030", r"write \*"),
        ("TZ=Europe/Berlin 0 9 * * *", "timezone='Europe/Berlin'"),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", "timezone='Europe/Berlin'"),
        ("*/90 * * * *", "minute has only 60 values and starts over; write '@every 90m'"),
        ("0 */36 * * *", "hour has only 24 values and starts over; write '@every 36h'"),
        ("0 0 */45 * *", "anchor="),
        ("0 0 ? * MON", r"write \*"),
        ("H 3 * * *", "jitter"),
        ("@reboot", "when your program starts"),
        ("@fortnightly", "@hourly, @daily"),
    ],
)
def test_other_dialects_are_refused_with_what_to_write_instead(text: str, instead: str) -> None:
    with pytest.raises(InvalidArgument, match=instead):
        Cron(text)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 5) | st.none()), min_size=1, max_size=3), st.data())
def test_a_weekday_may_have_its_number_within_the_month(
    chosen: list[tuple[int, int | None]], data: st.DataObject
) -> None:
    names = ["sun", "MON", "Tue", "wed", "thu", "fri", "SAT", "7"]
    plain = data.draw(st.none() | st.integers(0, 6))
    items = [
        data.draw(st.sampled_from([f"{day}#{number}", f"{names[day]}#{number}"]))
        if number
        else data.draw(st.sampled_from([f"L{day}", f"{day}L", f"{names[day]}l"]))
        for day, number in chosen
    ]
    fields = fields_of(f"0 0 * * {','.join([*items, *([] if plain is None else [str(plain)])])}")
    for offset in range(366 * 2):
        day = date(2027, 1, 1) + timedelta(days=offset)
        of_its_kind = [
            date(day.year, day.month, each)
            for each in range(1, monthrange(day.year, day.month)[1] + 1)
            if date(day.year, day.month, each).weekday() == day.weekday()
        ]
        place = of_its_kind.index(day) + 1
        expected = any(
            weekday % 7 == day.isoweekday() % 7 and (place == number if number else day == of_its_kind[-1])
            for weekday, number in chosen
        )
        assert fields.matches(day) == (expected or plain == day.isoweekday() % 7)


@pytest.mark.parametrize("field", ["L", "l", "1,L", "L,15-20"])
def test_l_is_the_last_day_of_the_month(field: str) -> None:
    fields = fields_of(f"0 0 {field} * *")
    others = {"L": set(), "l": set(), "1,L": {1}, "L,15-20": set(range(15, 21))}[field]
    for offset in range(366 * 4):
        day = date(2027, 1, 1) + timedelta(days=offset)
        is_last = (day + timedelta(days=1)).day == 1
        assert fields.matches(day) == (is_last or day.day in others)
    assert fields_of(f"0 0 {field} * MON").is_either


def test_ranges_go_beyond_the_end_of_their_field() -> None:
    assert fields_of("0 0 1 NOV-FEB *").months == {11, 12, 1, 2}
    assert fields_of("0 0 28-3 * *").days == {28, 29, 30, 31, 1, 2, 3}
    assert [each.hour for each in fields_of("0 22-2/2 * * *").times] == [0, 2, 22]


def test_months_have_names() -> None:
    assert fields_of("0 0 1 jan,MAR-May,12 *").months == {1, 3, 4, 5, 12}


@given(st.integers(0, 7), st.integers(0, 7), st.integers(1, 7))
def test_a_range_of_weekdays_means_the_numbers_it_names(low: int, high: int, step: int) -> None:
    end = high if low <= high else high + 7
    assert weekdays_of(f"{low}-{high}/{step}") == {each % 7 for each in range(low, end + 1, step)}


def test_the_times_of_a_day_are_in_order() -> None:
    assert fields_of("30,0 12,9 * * *").times == (time(9), time(9, 30), time(12), time(12, 30))


@pytest.mark.parametrize("expression", ["0 0 1 * 1", "0 0 */2 * 1", "0 0 1 * */2", "0 0 1-31 * 1"])
def test_a_match_of_either_day_field_fires(expression: str) -> None:
    assert fields_of(expression).is_either


@pytest.mark.parametrize("expression", ["0 0 * * 1", "0 0 1 * *", "0 0 * * *"])
def test_a_day_field_that_is_literally_a_star_restricts_nothing(expression: str) -> None:
    assert not fields_of(expression).is_either


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "*", "* * *", "* * * *", "* * * * * *", "* * * * * * *", "0 0 0 * * * 2030"),
        *("*/0 * * * *", "1/0 * * * *", "60 * * * *", "-1 * * * *", "0-60 * * * *", "1.5 * * * *"),
        *("* 25 * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * 0 *", "* * * * 8"),
        *("abc * * * *", "MON * * * *", "* * * MON *", "* * * * JAN", "* * * JAN-SUN *"),
        *("* * * * MONDAY", "1,,2 * * * *", ",1 * * * *", "1- * * * *"),
        *("1-2-3 * * * *", "*/ * * * *", "/5 * * * *", "*/5/5 * * * *", "*5 * * * *", "*-5 * * * *", "00001 * * * *"),
        *("٣ * * * *", "9" * 5000 + " * * * *", "*/" + "9" * 5000 + " * * * *", "* * * * \0", "; DROP * * * *"),
        *(
            "L 0 * * *",
            "0 0 L-3 * *",
            "0 0 15W * *",
            "0 0 * * 1#6",
            "0 0 * * L8",
            "0 0 ? * *",
            "0 0 * * ?",
            "0 0 LW * *",
        ),
        *(
            "0 0 * * #1",
            "0 0 * * 1#",
            "0 0 * * 1#0",
            "0 0 2#1 * *",
            "0 0 FRIL * *",
            "0 0 * L *",
            "0 0 * * L",
            "0 0 * * XL",
        ),
        *("*/90 * * * *", "0 */25 * * *", "0 0 */32 * *", "0 0 1 */13 *", "0 0 * * */8", "TZ=UTC 0 0 * * *"),
        *("H * * * *", "H/15 * * * *", "R * * * *", "H(0-29) * * * *", "@reboot", "@noon", "@ daily"),
        *("0 0 30 2 *", "0 0 30,31 FEB *", "0 0 31 2,4,6,9,11 *", "0 0 31-31/5 4 *"),
        *("@every", "@every ", "@every -1s", "@every 0s", "@every abc", "@every 5", "@every m", "@every 5 m"),
        *("@every 1h -5m", "@every 5M", "@every 1d", "@every .s", "@every 1e3s", "@every 1.2.3s", "@EVERY 5m"),
        *("@every 1h from", "@every 1h from ", "@every 1h from noon", "@every 1h from 2026-03-02T09:00"),
        *(
            "@every 1h  from9",
            "@every from 2026-03-02T09:00Z",
            "@every 999us",
            "@every 1.0000001s",
            "@every 1000001h",
            "@every " + "9" * 50 + "h",
            "@every nans",
        ),
        *("@every " + "9" * 5000 + "h", "@every5m", "every 5m", "5m"),
        *(None, 5, b"* * * * *", ["*"] * 5),
    ],
)
def test_text_that_is_no_plain_cron_is_refused(text: Any) -> None:
    with pytest.raises(InvalidArgument, match="schedule must be "):
        parse_schedule(text)
    with pytest.raises(InvalidArgument, match="schedule must be "):
        Cron(text)


@given(st.text() | st.text("0123456789*/,-JANSUNL#HR@every ms.", max_size=30))
def test_any_text_is_read_or_refused_and_what_is_read_is_written_back(text: str) -> None:
    try:
        schedule = parse_schedule(text)
    except InvalidArgument:
        return
    assert parse_schedule(str(schedule)) == schedule


def test_the_refusal_names_the_field_and_what_it_takes() -> None:
    with pytest.raises(InvalidArgument, match="in the field hour, .* from 0 to 23, .* not '25'") as caught:
        Cron("0 9,25 * * *")

    assert (caught.value.argument, caught.value.value) == ("schedule", "0 9,25 * * *")


def test_a_day_that_comes_in_leap_years_only_is_no_mistake() -> None:
    assert str(Cron("0 0 29 2 *")) == "0 0 29 2 *"
    assert str(Cron("0 0 30 2 1")) == "0 0 30 2 1"  # Mondays in February


def test_white_space_is_normalised() -> None:
    assert str(Cron("\t*/10  * * *\n* ")) == "*/10 * * * *"
    assert Cron("*/10   * * * *") == Cron("*/10 * * * *") == parse_schedule(" */10 * * * *")


@pytest.mark.parametrize(
    ("text", "interval", "canonical"),
    [
        ("@every 5m", timedelta(minutes=5), "@every 300s"),
        ("@every 1h30m", timedelta(minutes=90), "@every 5400s"),
        ("@every 1.5s", timedelta(seconds=1.5), "@every 1.5s"),
        ("@every 100ms", timedelta(milliseconds=100), "@every 0.1s"),
        ("@every 1500us", timedelta(microseconds=1500), "@every 0.0015s"),
        ("@every 1500µs", timedelta(microseconds=1500), "@every 0.0015s"),
        ("@every 1500μs", timedelta(microseconds=1500), "@every 0.0015s"),
        ("@every .5m", timedelta(seconds=30), "@every 30s"),
        ("@every 1.h1s1s", timedelta(seconds=3602), "@every 3602s"),
        ("  @every\t5m ", timedelta(minutes=5), "@every 300s"),
    ],
)
def test_every_is_written_as_a_duration(text: str, interval: timedelta, canonical: str) -> None:
    every = Every(interval)

    assert parse_schedule(text) == every == Cron(text)
    assert Cron(text) == every
    assert hash(every) == hash(Cron(text)) == hash(parse_schedule(text))
    assert str(every) == str(Cron(text)) == canonical
    assert type(parse_schedule(canonical)) is Every


def test_schedules_that_differ_are_not_equal() -> None:
    assert Every(1) != Every(2) != Cron("@every 1s") != Cron("* * * * *") != Every(60)
    assert Cron("* * * * *") != "* * * * *"


@given(st.timedeltas(timedelta(milliseconds=1), CENTURY))
def test_an_interval_is_written_without_loss(interval: timedelta) -> None:
    assert parse_schedule(str(Every(interval))) == Every(interval)
    assert Every(interval).period == interval


@given(
    st.timedeltas(timedelta(milliseconds=1), CENTURY),
    st.datetimes(datetime(3, 1, 1), datetime(9990, 1, 1), timezones=st.just(UTC)),
)
def test_an_anchor_is_written_without_loss(interval: timedelta, anchor: datetime) -> None:
    every = Every(interval, anchor=anchor)

    assert parse_schedule(str(every)) == every == Cron(str(every))
    assert hash(parse_schedule(str(every))) == hash(every)
    assert every != Every(interval)


def test_an_anchor_is_a_moment_and_a_phase_an_anchor_after_1970() -> None:
    assert parse_schedule("@every 2h from 2026-03-02T09:00+01:00") == Every(
        7200, anchor=datetime(2026, 3, 2, 8, tzinfo=UTC)
    )
    assert Every(7200, phase=3600) == Every(7200, phase=timedelta(hours=1))
    assert str(Every(7200, phase=3600)) == "@every 7200s from 1970-01-01T01:00:00+00:00"


@pytest.mark.parametrize(
    "bad",
    [{"anchor": datetime(2026, 1, 1)}, {"anchor": "noon"}, {"phase": -1}, {"phase": "5m"}]
    + [{"phase": 1, "anchor": datetime(2026, 1, 1, tzinfo=UTC)}],
)
def test_an_anchor_or_a_phase_that_cannot_be_meant_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="(anchor|phase) must be "):
        Every(60, **bad)


@pytest.mark.parametrize(("interval", "period"), [(30, "0:00:30"), (0.1, "0:00:00.100000"), (0.001, "0:00:00.001000")])
def test_an_interval_may_be_a_number_of_seconds(interval: float, period: str) -> None:
    assert str(Every(interval).period) == period


@pytest.mark.parametrize(
    "bad", [0, 0.0, 0.0009, -1, math.nan, math.inf, 4e9, "5m", None, True, timedelta(0), timedelta(-1), timedelta.max]
)
def test_an_interval_that_cannot_be_meant_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="interval must be "):
        Every(bad)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "EST5EDT"])
def test_a_time_zone_has_an_iana_name(name: str) -> None:
    assert check_timezone(name).key == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "Mars/Olympus", "Europe", "Europe/", "/Europe/Berlin", "Europe/Berlin ", "Europe//Berlin", "+01:00"),
        *("../x", "Europe/../Europe/Berlin", "./UTC", "/etc/passwd", "UTC\0", "Europe\\Berlin", "é", "\ud800", "C:/x"),
        *("localtime", "posixrules", "Factory", "posix/UTC", "right/UTC", "tzdata.zi", "zone.tab", "leapseconds"),
        *("A" * 10000, None, 5, b"UTC", ["UTC"]),
    ],
)
def test_what_is_no_time_zone_is_refused(name: Any) -> None:
    with pytest.raises(InvalidArgument, match="timezone must be "):
        check_timezone(name)
