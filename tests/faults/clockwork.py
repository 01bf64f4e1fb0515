"""Ticks as somebody would count them who watches a wall clock, minute by minute; nothing of the engine's is used."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from durable import Cron
from durable.core.schedules.timetable import Timetable

_MINUTE = timedelta(minutes=1)
_LONGEST_GAP = timedelta(hours=30)
_YEARS = (1975, 2037)
"""Before, some clocks differed by seconds from others; later, they are set by a rule without exceptions."""
_DAYS = 40
_MOST_TICKS = 10**6
_ZONES = sorted(
    zone for zone in available_timezones() if "/" in zone and zone.split("/")[0] not in ("posix", "right", "SystemV")
)


class Field(NamedTuple):
    text: str
    values: frozenset[int]


class Watched(NamedTuple):
    """A cron expression whose meaning was drawn together with its text."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    def __str__(self) -> str:
        return " ".join(field.text for field in self)

    def matches(self, wall: datetime) -> bool:
        if wall.minute not in self.minute.values or wall.hour not in self.hour.values:
            return False
        day, weekday = wall.day in self.day.values, wall.isoweekday() % 7 in self.weekday.values
        is_either = "*" not in (self.day.text, self.weekday.text)
        return wall.month in self.month.values and (day or weekday if is_either else day and weekday)


def draw(random: Random) -> Watched:
    """A random expression; every third fires by real time."""
    hour = _star(0, 23) if random.random() < 0.3 else _field(random, 0, 23)
    return Watched(
        _field(random, 0, 59),
        hour,
        _star(1, 31) if random.random() < 0.8 else _field(random, 1, 28, last=31),
        _star(1, 12) if random.random() < 0.9 else _field(random, 1, 12),
        _star(0, 6) if random.random() < 0.8 else _field(random, 0, 6),
    )


def _star(low: int, high: int) -> Field:
    return Field("*", frozenset(range(low, high + 1)))


def _field(random: Random, low: int, high: int, *, last: int | None = None) -> Field:
    """Values from ``low`` to ``high``; a step goes on to the ``last`` there is, which not every month may have."""
    match random.choice(("step", "range", "list")):
        case "step":
            step = random.randint(1, min(12, high - low))  # a longer one is refused where there are so few values
            return Field(f"*/{step}", frozenset(range(low, (last or high) + 1, step)))
        case "range":
            first, last = sorted((random.randint(low, high), random.randint(low, high)))
            return Field(f"{first}-{last}", frozenset(range(first, last + 1)))
        case _:
            values = random.sample(range(low, high + 1), random.randint(1, 4))
            return Field(",".join(map(str, values)), frozenset(values))


def watch(expression: Watched, zone: ZoneInfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """Where the hour is ``*``, each moment at which the clock shows a match. Otherwise each moment at which it goes for
    the first time to or beyond one."""
    highest = (after - _LONGEST_GAP).astimezone(zone).replace(tzinfo=None)
    for moment, wall in _shown(zone, after - _LONGEST_GAP, until):
        if expression.hour.text == "*":
            is_tick = expression.matches(wall)
        else:
            is_tick = False
            while highest < wall:
                highest += _MINUTE
                is_tick = expression.matches(highest) or is_tick
        if is_tick and moment > after:
            yield moment


def _shown(zone: ZoneInfo, start: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """What the clock shows each minute. It is not looked at within an hour that it has not been set in."""
    while start <= until:
        minutes = [start + number * _MINUTE for number in range(60)]
        walls = [(moment, moment.astimezone(zone).replace(tzinfo=None)) for moment in (start, start + 60 * _MINUTE)]
        if walls[1][1] - walls[0][1] == 60 * _MINUTE:
            shown = [(moment, walls[0][1] + number * _MINUTE) for number, moment in enumerate(minutes)]
        else:
            shown = [(moment, moment.astimezone(zone).replace(tzinfo=None)) for moment in minutes]
        yield from (each for each in shown if each[0] <= until)
        start += 60 * _MINUTE


def compare(random: Random) -> tuple[int, list[str]]:
    """Some weeks of a random schedule in a random zone and year: how many ticks there were, and what differs."""
    expression, name = draw(random), random.choice(_ZONES)
    zone = ZoneInfo(name)
    after = datetime(random.randint(*_YEARS), 1, 1, tzinfo=UTC) + timedelta(minutes=random.randrange(366 * 24 * 60))
    until = after + timedelta(days=_DAYS)
    timetable = Timetable(schedule=Cron(str(expression)), anchor=after, timezone=name)
    watched = list(watch(expression, zone, after, until))
    backwards = list(timetable.ticks(after, until, _MOST_TICKS))
    forwards: list[datetime] = []
    tick = timetable.next_tick(after)
    while tick is not None and tick <= until:
        forwards.append(tick)
        tick = timetable.next_tick(tick)
    where = f"{expression} in {name} from {after:%Y-%m-%d %H:%M}"
    return len(watched), [
        f"{where}, {way}: {sorted(set(watched) ^ set(found))[:3]}"
        for way, found in (("backwards", backwards), ("forwards", forwards))
        if found != watched
    ]
