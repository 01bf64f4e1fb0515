"""Schedules as text: five cron fields or an interval. Also the names of time zones. ``timetable`` says when they
fire."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from fractions import Fraction
from functools import lru_cache
from importlib import import_module
from itertools import product
from typing import Any, NamedTuple, TypeAlias, cast
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import force_setattr

from durable.core.durations import seconds
from durable.core.errors import InvalidArgument

_LEAP_YEAR = 2024
_MAX_CHARACTERS = 1000
_MICROSECOND = timedelta(microseconds=1)
_EVERY = "@every "
_RULE = "five cron fields, such as '30 9 * * MON-FRI', or '@every ' followed by a duration, such as '@every 1h30m'"

_UNITS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1, "µs": 1, "μs": 1}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|us|µs|μs|h|m|s)"
_DURATION = re.compile(f"(?:{_PART})+")

_ITEM = re.compile(r"(?:\*|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]{1,4}))?", re.IGNORECASE | re.ASCII)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
_NO_ZONES = ("localtime", "posixrules", "Factory", "posix", "right")


class Every(msgspec.Struct, frozen=True):
    """Fires every ``interval`` after its anchor, without drift. The interval is a ``timedelta`` or seconds, and is kept
    as a ``timedelta`` of whole microseconds. Raises ``InvalidArgument`` unless it is between 1 millisecond and 100
    years."""

    interval: timedelta | float

    def __post_init__(self) -> None:
        number = seconds("interval", self.interval)
        if number < 0.001:
            raise InvalidArgument("interval", self.interval, "at least 1 millisecond")
        if not isinstance(self.interval, timedelta):
            force_setattr(self, "interval", timedelta(seconds=number))

    @property
    def period(self) -> timedelta:
        """The exact interval."""
        return cast("timedelta", self.interval)

    def __str__(self) -> str:
        whole, fraction = divmod(self.period // _MICROSECOND, 1_000_000)
        return f"{_EVERY}{whole}" + (f".{fraction:06}".rstrip("0") if fraction else "") + "s"

    def __hash__(self) -> int:
        return hash(str(self))


class Cron(msgspec.Struct, frozen=True):
    """Fires whenever the wall clock matches ``minute hour day-of-month month day-of-week``.

    Each field is ``*`` or a list of numbers, ranges and steps (``*/15``, ``9-17/2``, ``10/5``: from 10 on). Months and
    weekdays may also be given by name (``JAN``, ``MON``), and both 0 and 7 are Sunday. If neither day field is
    literally ``*``, a match of either one fires. ``@every`` followed by a duration as Go writes it (``@every 1h30m``)
    equals ``Every``.

    Whitespace is normalized. Raises ``InvalidArgument`` for any other text, and for days that never occur.
    """

    expression: str

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str) or len(self.expression) > _MAX_CHARACTERS:
            raise InvalidArgument("schedule", self.expression, f"{_RULE}, of at most {_MAX_CHARACTERS} characters")
        text = " ".join(self.expression.split())
        if text.startswith(_EVERY):
            text = str(_every(text))
        else:
            fields_of(text)
        force_setattr(self, "expression", text)

    def __str__(self) -> str:
        return self.expression

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Cron | Every) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.expression)


Schedule: TypeAlias = Cron | Every


def parse_schedule(text: str) -> Schedule:
    """Parses a schedule that ``str(schedule)`` wrote or that a user gave as text; ``@every`` gives ``Every``. Raises
    ``InvalidArgument``."""
    cron = Cron(text)
    return _every(cron.expression) if cron.expression.startswith(_EVERY) else cron


def check_timezone(name: str) -> ZoneInfo:
    """Returns the time zone with that IANA name. Raises ``InvalidArgument`` for a name that this machine does not know,
    and for names that mean something else elsewhere (``localtime``) or count leap seconds (``right/…``)."""
    if isinstance(name, str) and _ZONE.fullmatch(name) and name.split("/", 1)[0] not in _NO_ZONES:
        try:
            return ZoneInfo(str.__str__(name))  # a subclass's own methods may raise
        except (LookupError, OSError, ValueError):  # unknown; a directory, such as "America"; a file of another format
            pass
    raise InvalidArgument("timezone", name, "the IANA name of a time zone, such as 'Europe/Berlin' or 'UTC'")


class Fields(msgspec.Struct, frozen=True):
    """What an expression matches; Sunday is 0."""

    times: tuple[time, ...]
    """The matching times of day, in order."""
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either: bool
    """Whether a match of one of the day fields is enough."""
    is_hourly: bool
    """Whether the hour is literally ``*``."""

    def matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_date or by_weekday if self.is_either else by_date and by_weekday


@lru_cache(256)
def fields_of(expression: str) -> Fields:
    """Parses a cron expression whose fields are separated by single spaces. Raises ``InvalidArgument``."""
    texts = expression.split(" ")
    if len(texts) != len(_FIELDS):
        raise InvalidArgument("schedule", expression, _RULE)
    plain = [_plain(field, text, expression) for field, text in zip(_FIELDS, texts, strict=True)]
    expanded, _ = _croniter().expand(" ".join(plain))
    minutes, hours, days, months, weekdays = (
        range(field.low, field.high + 1) if values == ["*"] else sorted(values)
        for field, values in zip(_FIELDS, expanded, strict=True)
    )
    if texts[4] == "*" and not any(min(days) <= monthrange(_LEAP_YEAR, month)[1] for month in months):
        raise InvalidArgument("schedule", expression, "an expression whose days exist in one of its months")
    return Fields(
        times=tuple(time(hour, minute) for hour, minute in product(hours, minutes)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(weekdays),
        is_either=texts[2] != "*" and texts[4] != "*",
        is_hourly=texts[1] == "*",
    )


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
    """Returns the field in numbers, for croniter: without anything that cron does not have, and without a range whose
    end equals its start, which croniter takes for the whole field."""
    if text == "*":
        return text
    items: list[str] = []
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise _refused(field, item, expression)
        first, last, step = match.groups()
        low = field.low if first is None else field.value(first)
        if last is None:
            high = field.high if first is None or step else low
        else:
            high = field.most if low and last.lower() == "sun" in field.names else field.value(last)
        if low is None or high is None or (last and high < low) or (step and not int(step)):
            raise _refused(field, item, expression)
        items.append(f"{low}-{high}/{step or 1}" if low < high else f"{low}")
    return ",".join(items)


def _refused(field: _Field, item: str, expression: str) -> InvalidArgument:
    names = f" or {field.names[0].upper()} to {field.names[-1].upper()}" if field.names else ""
    return InvalidArgument(
        "schedule",
        expression,
        f"valid in the field {field.name}, which takes '*' or a list of numbers from {field.low} to {field.most}"
        f"{names}, ascending ranges (low-high) and steps (*/n, n not 0) but not {item!r}",
    )


class _Croniter(NamedTuple):
    expand: Callable[[str], tuple[list[list[Any]], Any]]


@lru_cache(1)
def _croniter() -> _Croniter:
    # Imported late, because few programs have schedules. It is untyped, hence the cast.
    return _Croniter(cast("Any", import_module("croniter")).croniter.expand)


def _every(text: str) -> Every:
    duration = text.removeprefix(_EVERY)
    if _DURATION.fullmatch(duration) is None or len(duration) > 100:
        raise InvalidArgument("schedule", text, "'@every ' and a positive duration such as 1h30m, 5m, 1.5s or 100ms")
    length = sum(Fraction(number) * _UNITS[unit] for number, unit in re.findall(_PART, duration))
    if length.denominator != 1:
        raise InvalidArgument("schedule", text, "a whole number of microseconds")
    try:
        return Every(timedelta(microseconds=int(length)))
    except (InvalidArgument, OverflowError):
        raise InvalidArgument("schedule", text, "between 1 millisecond and 100 years") from None
