"""Durations and moments as users give them."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TypeAlias

from durable.core.errors import InvalidArgument

Duration: TypeAlias = timedelta | float

_MOST = 100 * 365.25 * 86400


def seconds(argument: str, value: Duration) -> float:
    """The duration in seconds. Raises ``InvalidArgument`` unless it is finite and between 0 and 100 years."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise InvalidArgument(argument, value, "a timedelta or a finite number of seconds")
    if not 0 <= number <= _MOST:
        raise InvalidArgument(argument, value, "between 0 seconds and 100 years")
    return float(number)


def aware(argument: str, value: datetime) -> datetime:
    """The moment itself. Raises ``InvalidArgument`` if it has no time zone."""
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise InvalidArgument(
            argument, value, "an aware datetime, such as datetime.now(UTC) or one with tzinfo=ZoneInfo(…)"
        )
    return value
