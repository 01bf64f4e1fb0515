"""Schedules as text: cron fields (see ``fields``) or an interval. Also the names of time zones. ``timetable`` says when
they fire."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TypeAlias, cast
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import force_setattr

from durable.core.durations import aware, seconds
from durable.core.errors import InvalidArgument
from durable.core.schedules.fields import RULE, fields_of

_MAX_CHARACTERS = 1000
_MICROSECOND = timedelta(microseconds=1)
_EVERY = "@every "
_FROM = " from "
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_UNITS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1, "µs": 1, "μs": 1}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|us|µs|μs|h|m|s)"
_DURATION = re.compile(f"(?:{_PART})+")

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
_NO_ZONES = ("localtime", "posixrules", "Factory", "posix", "right")


class Every(msgspec.Struct, frozen=True):
    """Fires every ``interval``, without drift. The interval is a ``timedelta`` or seconds, and is kept as a
    ``timedelta`` of whole microseconds.

    ``anchor``, an aware datetime in the past or future, is a moment at which it fires; all other ticks are multiples of
    the interval before and after it. If the interval is in whole days, the ticks keep the time of day that the anchor
    has in the time zone of the schedule: ``Every(timedelta(weeks=2), anchor=monday_at_nine)`` is every second Monday at
    nine. ``phase`` means an anchor that long after 1970-01-01 00:00 UTC: ``Every(timedelta(hours=2), phase=3600)``
    fires at odd hours. Without either, the interval counts from when the schedule was first stored.

    Raises ``InvalidArgument`` unless the interval is between 1 millisecond and 100 years, and if both an anchor and a
    phase are given.
    """

    interval: timedelta | float
    phase: timedelta | float | None = None
    anchor: datetime | None = None

    def __post_init__(self) -> None:
        number = seconds("interval", self.interval)
        if number < 0.001:
            raise InvalidArgument("interval", self.interval, "at least 1 millisecond")
        if not isinstance(self.interval, timedelta):
            force_setattr(self, "interval", timedelta(seconds=number))
        if self.phase is not None:
            if self.anchor is not None:
                raise InvalidArgument("phase", self.phase, "None if anchor is given")
            shift = timedelta(seconds=seconds("phase", self.phase))
            force_setattr(self, "anchor", _EPOCH + (self.phase if isinstance(self.phase, timedelta) else shift))
            force_setattr(self, "phase", None)
        elif self.anchor is not None:
            force_setattr(self, "anchor", aware("anchor", self.anchor).astimezone(UTC))

    @property
    def period(self) -> timedelta:
        """The exact interval."""
        return cast("timedelta", self.interval)

    def __str__(self) -> str:
        whole, fraction = divmod(self.period // _MICROSECOND, 1_000_000)
        text = f"{_EVERY}{whole}" + (f".{fraction:06}".rstrip("0") if fraction else "") + "s"
        return text if self.anchor is None else f"{text}{_FROM}{self.anchor.isoformat()}"

    def __hash__(self) -> int:
        return hash(str(self))


class Cron(msgspec.Struct, frozen=True):
    """Fires whenever the wall clock matches ``minute hour day-of-month month day-of-week``.

    Each field is ``*`` or a list of numbers, ranges and steps (``*/15``, ``9-17/2``, ``10/5``: from 10 on). A range may
    go beyond the end of its field (``22-2``, ``FRI-MON``). Months and weekdays may also be given by name (``JAN``,
    ``MON``), and both 0 and 7 are Sunday. ``L`` is the last day of the month, ``FRI#2`` its second Friday, and ``FRIL``
    or ``L5`` its last one. If neither day field is literally ``*``, a match of either one fires.

    ``@hourly``, ``@daily``, ``@weekly``, ``@monthly`` and ``@yearly`` are kept as their fields. ``@every`` followed by
    a duration as Go writes it (``@every 1h30m``), and perhaps by ``from`` and a moment (``from 2026-03-02T09:00Z``),
    equals ``Every``.

    Whitespace is normalized. Raises ``InvalidArgument`` for any other text, and for days that never occur.
    """

    expression: str

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str) or len(self.expression) > _MAX_CHARACTERS:
            raise InvalidArgument("schedule", self.expression, f"{RULE}, of at most {_MAX_CHARACTERS} characters")
        text = " ".join(self.expression.split())
        text = _MACROS.get(text.lower(), text)
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


def _every(text: str) -> Every:
    duration, _, moment = text.removeprefix(_EVERY).partition(_FROM)
    if _DURATION.fullmatch(duration) is None or len(duration) > 100:
        raise InvalidArgument("schedule", text, "'@every ' and a positive duration such as 1h30m, 5m, 1.5s or 100ms")
    length = sum(Fraction(number) * _UNITS[unit] for number, unit in re.findall(_PART, duration))
    if length.denominator != 1:
        raise InvalidArgument("schedule", text, "a whole number of microseconds")
    try:
        anchor = datetime.fromisoformat(moment) if _FROM in text else None
    except ValueError:
        anchor = datetime.min
    if anchor is not None and anchor.tzinfo is None:
        raise InvalidArgument(
            "schedule", text, "'@every', a duration, 'from' and a moment such as 2026-03-02T09:00+01:00"
        )
    try:
        return Every(timedelta(microseconds=int(length)), anchor=anchor)
    except (InvalidArgument, OverflowError):
        raise InvalidArgument("schedule", text, "between 1 millisecond and 100 years") from None
