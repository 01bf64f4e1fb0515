"""Five cron fields: which times of day and which days they match."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from functools import lru_cache
from importlib import import_module
from itertools import product
from typing import Any, NamedTuple, cast

import msgspec

from durable.core.errors import InvalidArgument

RULE = "five cron fields, such as '30 9 * * MON-FRI', or '@every ' followed by a duration, such as '@every 1h30m'"

_LEAP_YEAR = 2024
_WEEK = 7
_LAST = 0
"""Where the number of a weekday within its month is expected: the last one."""
_FLAGS = re.IGNORECASE | re.ASCII
_ITEM = re.compile(r"(?:\*|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]{1,4}))?", _FLAGS)
_NTH = re.compile(r"([0-9a-z]+)#([1-5])|L([0-7])|([0-9a-z]+)L", _FLAGS)
_INSTEAD = (
    (re.compile(r"(CRON_)?TZ=", _FLAGS), "without a time zone: give it as timezone='Europe/Berlin'"),
    (re.compile(r"@reboot", _FLAGS), "another one: begin a run when your program starts"),
    (re.compile(r"@(?!every)", _FLAGS), "@hourly, @daily, @weekly, @monthly, @yearly, or five cron fields"),
    (
        re.compile(r"(\S+ ){2}\S*\dW|(\S+ ){2}\S*W\b", _FLAGS),
        "without W, the weekday that is nearest to a day: let it \
fire on all days in question and have the workflow look at ctx.scheduled_at",
    ),
    (
        re.compile(r"(\S+ ){2}\S*L-", _FLAGS),
        "without L-: let it fire on all days in question, such as '25-30', and have \
the workflow look at ctx.scheduled_at",
    ),
    (re.compile(r".*\?", _FLAGS), "without ?: write *"),
    (re.compile(r".*\bH\b", _FLAGS), "without H: choose a number, or give a jitter"),
    (
        re.compile(r"(\S+ ){5,6}\S+$"),
        "five cron fields, without seconds and years: leave these fields out, and for \
less than a minute write '@every 10s'",
    ),
)


class Fields(msgspec.Struct, frozen=True):
    """What an expression matches; Sunday is 0."""

    times: tuple[time, ...]
    """The matching times of day, in order."""
    days: frozenset[int]
    is_last_day: bool
    """Whether the last day of a month matches."""
    months: frozenset[int]
    weekdays: frozenset[int]
    numbered: frozenset[tuple[int, int]]
    """Weekdays with their number within the month; 0 is the last one."""
    is_either: bool
    """Whether a match of one of the day fields is enough."""
    is_hourly: bool
    """Whether the hour is literally ``*``."""

    def matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        last = monthrange(day.year, day.month)[1]
        by_date = day.day in self.days or (self.is_last_day and day.day == last)
        weekday = day.isoweekday() % _WEEK
        by_weekday = weekday in self.weekdays or (
            bool(self.numbered)
            and (
                (weekday, (day.day - 1) // _WEEK + 1) in self.numbered
                or (day.day > last - _WEEK and (weekday, _LAST) in self.numbered)
            )
        )
        return by_date or by_weekday if self.is_either else by_date and by_weekday


@lru_cache(256)
def fields_of(expression: str) -> Fields:
    """Parses a cron expression whose fields are separated by single spaces. Raises ``InvalidArgument``."""
    for dialect, instead in _INSTEAD:
        if dialect.match(expression):
            raise InvalidArgument("schedule", expression, instead)
    texts = expression.split(" ")
    if len(texts) != len(_FIELDS):
        raise InvalidArgument("schedule", expression, RULE)
    plain = [_plain(field, text, expression) for field, text in zip(_FIELDS, texts, strict=True)]
    expanded, _ = _croniter().expand(" ".join(plain))
    minutes, hours, days, months, weekdays = (
        range(field.low, field.high + 1) if values == ["*"] else values
        for field, values in zip(_FIELDS, expanded, strict=True)
    )
    dated = {day for day in days if day != "l"}
    numbered = _numbered(texts[4])
    if texts[4] == "*" and dated == set(days) and not any(min(dated) <= _longest(month) for month in months):
        raise InvalidArgument("schedule", expression, "an expression whose days exist in one of its months")
    return Fields(
        times=tuple(time(hour, minute) for hour, minute in product(sorted(hours), sorted(minutes))),
        days=frozenset(dated),
        is_last_day=dated != set(days),
        months=frozenset(months),
        weekdays=frozenset() if _is_numbered(texts[4]) else frozenset(weekdays),
        numbered=numbered,
        is_either=texts[2] != "*" and texts[4] != "*",
        is_hourly=texts[1] == "*",
    )


def _longest(month: int) -> int:
    return monthrange(_LEAP_YEAR, month)[1]


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: Sequence[str] = ()

    def value(self, text: str) -> int | None:
        """Returns the number that the text stands for, or ``None`` if there is none."""
        if text.isdecimal():
            number = int(text[:5])
            return number if len(text) < 5 and self.low <= number <= self.most else None
        return self.names.index(text.lower()) + self.low if text.lower() in self.names else None

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    @property
    def unit(self) -> str:
        return {"minute": "m", "hour": "h"}.get(self.name, "")

    @property
    def most(self) -> int:
        return 7 if self.name == "day-of-week" else self.high


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day-of-month", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("day-of-week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


def _plain(field: _Field, text: str, expression: str) -> str:
    """Returns the field in numbers, for croniter: without what cron does not have, ranges beyond the end of the field,
    and a range whose end equals its start, which croniter takes for the whole field."""
    if text == "*":
        return text
    items: list[str] = []
    for item in text.split(","):
        if field.name == "day-of-month" and item.lower() == "l":
            items.append("l")
            continue
        if field.name == "day-of-week" and (match := _NTH.fullmatch(item)) is not None:
            if _weekday(match) is None:
                raise _refused(field, item, expression)
            continue
        match = _ITEM.fullmatch(item)
        if match is None:
            raise _refused(field, item, expression)
        items.append(_numbers(field, match, expression))
    return ",".join(items) or "*"


def _numbers(field: _Field, item: re.Match[str], expression: str) -> str:
    first, last, given = item.groups()
    low = field.low if first is None else field.value(first)
    step = int(given or 1)
    if last is None:
        high = field.high if first is None or given else low
    else:
        high = field.most if low and last.lower() == "sun" in field.names else field.value(last)
    if low is None or high is None or not step:
        raise _refused(field, item[0], expression)
    if step > field.size:
        instead = f"'@every {step}{field.unit}'" if field.unit else "Every(timedelta(days=…), anchor=…)"
        rule = f"without {item[0]!r}: {field.name} has only {field.size} values and starts over; write {instead}"
        raise InvalidArgument("schedule", expression, rule)
    if last is None and low > high:  # 7/2, for which 7 is Sunday and the end of the week
        high = low
    if low < high:
        return f"{low}-{high}/{step}"
    values = range(low, low + (high - low) % field.size + 1, step)
    return ",".join(str((value - field.low) % field.size + field.low) for value in values)


def _numbered(text: str) -> frozenset[tuple[int, int]]:
    """Returns what croniter makes of the weekdays that have a number within the month."""
    matches = [match for item in text.split(",") if (match := _NTH.fullmatch(item)) is not None]
    if not matches:
        return frozenset()
    items = (f"{_weekday(match)}#{match[2]}" if match[2] else f"l{_weekday(match)}" for match in matches)
    _, found = _croniter().expand(f"0 0 * * {','.join(items)}")
    return frozenset((weekday, _LAST if number == "l" else number) for weekday in found for number in found[weekday])


def _is_numbered(text: str) -> bool:
    return all(_NTH.fullmatch(item) for item in text.split(","))


def _weekday(match: re.Match[str]) -> int | None:
    """Returns the weekday, ``None`` if there is none of that name."""
    return _FIELDS[-1].value(match[1] or match[3] or match[4])


def _refused(field: _Field, item: str, expression: str) -> InvalidArgument:
    names = f" or {field.names[0].upper()} to {field.names[-1].upper()}" if field.names else ""
    special = {"day-of-month": ", and L for the last day", "day-of-week": ", and FRI#2 or FRIL"}.get(field.name, "")
    return InvalidArgument(
        "schedule",
        expression,
        f"valid in the field {field.name}, which takes '*' or a list of numbers from {field.low} to {field.most}"
        f"{names}, ranges (low-high) and steps (*/n, n not 0){special} but not {item!r}",
    )


class _Croniter(NamedTuple):
    expand: Callable[[str], tuple[list[list[Any]], Mapping[int, set[Any]]]]


@lru_cache(1)
def _croniter() -> _Croniter:
    # Imported late, because few programs have schedules. It is untyped, hence the cast.
    return _Croniter(cast("Any", import_module("croniter")).croniter.expand)
