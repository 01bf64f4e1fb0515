from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.durations import aware, seconds
from durable.core.errors import InvalidArgument

CENTURY = 100 * 365.25 * 86400


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [(0, 0.0), (1, 1.0), (0.25, 0.25), (timedelta(minutes=2), 120.0), (timedelta(0), 0.0), (CENTURY, CENTURY)],
)
def test_a_duration_is_a_timedelta_or_a_number_of_seconds(given_value: Any, expected: float) -> None:
    result = seconds("delay", given_value)

    assert result == expected
    assert type(result) is float


@pytest.mark.parametrize(
    "value",
    [
        *(math.nan, math.inf, -math.inf, -1, -0.001, CENTURY + 1, 10**400, -(10**400)),
        *(timedelta(seconds=-1), timedelta.max, timedelta.min),
        *(True, False, "5", None, Decimal(1), 1j, [1]),
    ],
)
def test_a_duration_that_cannot_be_waited_for_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"timeout must be .*, got ") as caught:
        seconds("timeout", value)

    assert caught.value.argument == "timeout"


@given(st.one_of(st.floats(), st.integers(), st.timedeltas()))
def test_the_seconds_of_any_duration_are_finite_or_refused(value: float | timedelta) -> None:
    try:
        result = seconds("delay", value)
    except InvalidArgument:
        return

    assert 0 <= result <= CENTURY


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-12)), ZoneInfo("Europe/Berlin")])
def test_an_aware_moment_is_itself(zone: Any) -> None:
    moment = datetime(2030, 1, 1, tzinfo=zone)

    assert aware("moment", moment) is moment


@pytest.mark.parametrize("value", [datetime(2030, 1, 1), "2030-01-01", 0, None, datetime(2030, 1, 1).date()])
def test_a_moment_without_a_time_zone_is_refused_with_the_cure(value: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"moment must be .*datetime\.now\(UTC\)"):
        aware("moment", value)


@pytest.mark.parametrize(
    "value",
    [
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=12))),
    ],
)
def test_a_moment_that_could_not_be_read_back_is_refused(value: datetime) -> None:
    with pytest.raises(InvalidArgument, match="years 3 to 9997"):
        aware("moment", value)
