"""Moments and timetables, as tests write them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from durable.core.schedules.expressions import Cron, Schedule
from durable.core.schedules.timetable import Timetable

MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)
NEW_YORK, LORD_HOWE = "America/New_York", "Australia/Lord_Howe"


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def timetable(schedule: str | Schedule, zone: str = "UTC", **options: Any) -> Timetable:
    given = {"anchor": at("2026-03-12 10:00")} | options
    return Timetable(schedule=Cron(schedule) if isinstance(schedule, str) else schedule, timezone=zone, **given)


def following(subject: Timetable, after: datetime, most: int) -> Iterator[datetime]:
    for _ in range(most):
        tick = subject.next_tick(after)
        if tick is None:
            return
        yield tick
        after = tick
