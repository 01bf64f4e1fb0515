"""Durations and moments as users pass them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from durable.core.errors import InvalidArgument

Duration: TypeAlias = timedelta | float

_MAX = 100 * 365.25 * 86400


def seconds(argument: str, value: Duration) -> float:
    """Returns the duration in seconds. Raises ``InvalidArgument`` unless it is finite and between 0 and 100 years."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InvalidArgument(argument, value, "a timedelta or a finite number of seconds")
    if isinstance(number, float) and not math.isfinite(number):  # an int may be too large for isfinite
        raise InvalidArgument(argument, value, "a timedelta or a finite number of seconds")
    if not 0 <= number <= _MAX:
        raise InvalidArgument(argument, value, "between 0 seconds and 100 years")
    return float(number)


def positive(argument: str, value: Duration) -> float:
    """Like ``seconds``, but rejects 0 as well."""
    number = seconds(argument, value)
    if number == 0:
        raise InvalidArgument(argument, value, "more than 0 seconds")
    return number


def aware(argument: str, value: datetime) -> datetime:
    """Returns the moment itself. Raises ``InvalidArgument`` unless it has a time zone and lies in the years 3 to
    9997."""
    if not isinstance(value, datetime) or not _has_offset(value):
        raise InvalidArgument(
            argument, value, "an aware datetime, such as datetime.now(UTC) or one with tzinfo=ZoneInfo(…)"
        )
    try:
        is_readable = 2 < value.astimezone(UTC).year < 9998
    except OverflowError:
        is_readable = False
    if not is_readable:  # Postgres would accept it, but in another time zone Python could never read it back
        raise InvalidArgument(argument, value, "a moment in the years 3 to 9997")
    return value


def _has_offset(value: datetime) -> bool:
    try:
        return value.utcoffset() is not None
    except Exception:  # a third-party tzinfo may raise anything
        return False
