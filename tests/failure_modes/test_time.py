"""Failure modes C15, F: clocks, time zones, schedules."""

from __future__ import annotations

import ast
import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import durable
from durable import AsyncClient, Context, Cron, Every, InvalidArgument, ScheduleNotFound, Worker, workflow
from durable.core.schedules.timetable import Timetable
from durable.store import ids as ids_module
from tests.watching import rows, until

MINUTE = timedelta(minutes=1)


@workflow
async def ticked(ctx: Context, name: str) -> None: ...


@workflow
async def napping(ctx: Context, seconds: float) -> float:
    before = await ctx.now("before")
    await ctx.sleep("nap", seconds)
    return ((await ctx.now("after")) - before).total_seconds()


async def ticks_of(dsn: str, schedule_id: str) -> list[datetime]:
    found = await rows(
        dsn, "SELECT scheduled_at FROM durable.runs WHERE schedule_id = %s ORDER BY scheduled_at", schedule_id
    )
    return [tick for (tick,) in found]


async def more_ticks_than(dsn: str, schedule_id: str, count: int) -> bool:
    return len(await ticks_of(dsn, schedule_id)) > count


async def due_since(dsn: str, schedule_id: str, moment: datetime) -> None:
    """As if nobody had looked at the schedule since."""
    await rows(
        dsn,
        "UPDATE durable.schedules SET next_tick_at = %s, due_at = %s WHERE schedule_id = %s",
        moment,
        moment,
        schedule_id,
    )


# F1, F2


def test_f1_no_module_reads_the_wall_clock_of_its_machine_but_the_one_that_makes_ids() -> None:
    readers = set()
    root = Path(durable.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id="time"), attr="time" | "time_ns" | "localtime" | "gmtime"):
                    readers.add(path.relative_to(root).as_posix())
                case ast.Attribute(value=ast.Name(id="datetime" | "date"), attr="now" | "utcnow" | "today"):
                    readers.add(path.relative_to(root).as_posix())
    assert {path for path in readers if not path.startswith(("cli/", "embedded/"))} == {"store/ids.py"}


@pytest.mark.parametrize("skew", [-600, 600], ids=["ten minutes slow", "ten minutes fast"])
async def test_f1_a_worker_whose_clock_is_wrong_fires_and_wakes_by_that_of_the_database(
    database: str, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    right, right_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: right() + skew)
    monkeypatch.setattr(time, "time_ns", lambda: right_ns() + int(skew * 1e9))
    monkeypatch.setattr(ids_module, "_clock", ids_module._Clock())  # that of the other tests shall not run ahead
    async with AsyncClient(database) as client, Worker(database, [ticked, napping], max_resident=1):
        naps = [await client.begin(napping, 0.3) for _ in range(3)]
        await client.schedule(ticked, "x", "often", Every(0.1), catch_up="all")
        slept = [await nap.result(timeout=10) for nap in naps]
        await until(lambda: more_ticks_than(database, "often", 8))
    assert all(0.3 <= seconds < 5 for seconds in slept)
    ticks = await ticks_of(database, "often")
    assert {after - before for before, after in pairwise(ticks)} == {timedelta(seconds=0.1)}
    assert await rows(database, "SELECT 1 FROM durable.runs WHERE created_at < scheduled_at") == []


async def test_f2_a_clock_that_steps_back_fires_no_tick_twice(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [ticked]):
        await client.schedule(ticked, "x", "often", Every(0.05), catch_up="all")
        await until(lambda: more_ticks_than(database, "often", 5))
        for _ in range(3):
            before = await ticks_of(database, "often")
            await due_since(database, "often", before[0])  # all that was fired seems to lie ahead again
            await until(partial(more_ticks_than, database, "often", len(before) + 3))
    ticks = await ticks_of(database, "often")
    assert len(ticks) == len(set(ticks))
    assert ticks == [ticks[0] + index * timedelta(seconds=0.05) for index in range(len(ticks))]


# F3


@pytest.mark.parametrize("expression", ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"])
async def test_f3_a_day_that_never_comes_is_refused(database: str, expression: str) -> None:
    async with AsyncClient(database) as client:
        with pytest.raises(InvalidArgument, match="whose days exist"):
            await client.schedule(ticked, "x", "never", expression)
        assert await client.list_schedules() == []


# F4

ZONES = [
    "Africa/Cairo",  # summer time came back in 2023
    "Africa/Casablanca",  # an hour less in Ramadan, by dates that no rule gives
    "America/Asuncion",  # summer time for ever since 2024
    "America/Caracas",
    "America/Mexico_City",  # no summer time since 2022
    "America/New_York",
    "America/Nuuk",  # shifted by an hour in 2023
    "America/Santiago",
    "America/Sao_Paulo",  # no summer time since 2019
    "America/St_Johns",
    "Asia/Almaty",  # moved west in 2024
    "Asia/Amman",  # summer time for ever since 2022
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Pyongyang",  # moved by half an hour in 2018
    "Asia/Tehran",  # no summer time since 2022
    "Australia/Lord_Howe",  # shifts by half an hour
    "Europe/Dublin",  # its winter time is the saving one
    "Europe/London",
    "Europe/Volgograd",  # moved in 2018 and 2020
    "Pacific/Apia",  # no summer time since 2021
    "Pacific/Chatham",
]
START, END = datetime(2017, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def transitions(zone: ZoneInfo) -> list[tuple[datetime, timedelta, timedelta]]:
    """The moments at which the clock is set, with the offsets before and after."""
    found = []
    moment = START
    while moment < END:
        later = moment + timedelta(hours=6)
        if offset(moment, zone) != offset(later, zone):
            low, high = 0, 6 * 3600
            while high - low > 1:
                middle = (low + high) // 2
                is_before = offset(moment + timedelta(seconds=middle), zone) == offset(moment, zone)
                low, high = (middle, high) if is_before else (low, middle)
            found.append((moment + timedelta(seconds=high), offset(moment, zone), offset(later, zone)))
        moment = later
    return found


def offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    shown = moment.astimezone(zone).utcoffset()
    assert shown is not None
    return shown


def daily_at(wall: datetime, zone: str) -> Timetable:
    return Timetable(schedule=Cron(f"{wall.minute} {wall.hour} * * *"), anchor=START, timezone=zone)


@pytest.mark.parametrize("name", ZONES)
def test_f4_whenever_a_clock_was_set_in_ten_years_a_daily_time_fires_once_and_every_hour_by_real_time(
    name: str,
) -> None:
    zone = ZoneInfo(name)
    for moment, before, after in transitions(zone):
        shift = after - before
        first, last = sorted((moment + before, moment + after))
        wall = first.replace(tzinfo=None) + MINUTE  # skipped, or shown twice
        assert wall < last.replace(tzinfo=None)
        assert abs(shift) < timedelta(hours=23)
        (tick,) = daily_at(wall, name).ticks(moment - timedelta(hours=12), moment + timedelta(hours=12), 10)
        assert tick == (moment if shift > timedelta(0) else moment - abs(shift) + MINUTE)

        hourly = Timetable(schedule=Cron("* * * * *"), anchor=START, timezone=name)
        around = hourly.ticks(moment - timedelta(hours=3), moment + timedelta(hours=3), 1000)
        assert around == tuple(moment + index * MINUTE for index in range(-179, 181))
    if name not in ("Asia/Kathmandu", "America/Caracas"):
        assert transitions(zone)


@pytest.mark.parametrize("name", ZONES)
def test_f4_on_every_day_of_ten_years_a_daily_time_fires_once(name: str) -> None:
    zone = ZoneInfo(name)
    for hour in (0, 2):
        timetable = Timetable(schedule=Cron(f"30 {hour} * * *"), anchor=START, timezone=name)
        tick, days = timetable.next_tick(START), []
        while tick is not None and tick < END:
            days.append(tick.astimezone(zone).date())
            tick = timetable.next_tick(tick)
        assert {after - before for before, after in pairwise(days)} == {timedelta(days=1)}
        assert len(days) in (3651, 3652, 3653)


# F5, F6


async def test_f5_a_zone_that_has_vanished_stops_its_own_schedule_and_says_so(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [ticked]):
        with pytest.raises(InvalidArgument, match="timezone must be"):
            await client.schedule(ticked, "x", "refused", "* * * * *", timezone="Mars/Olympus_Mons")
        await client.schedule(ticked, "x", "gone", "* * * * *", timezone="Europe/Zurich")
        await rows(database, "UPDATE durable.schedules SET timezone = 'Europe/Gone', due_at = now()")
        await client.schedule(ticked, "x", "well", Every(0.05))
        await until(lambda: more_ticks_than(database, "well", 3))
        (gone,) = [status for status in await client.list_schedules() if status.schedule_id == "gone"]
        assert "Europe/Gone" in str(gone.problem)
        assert await ticks_of(database, "gone") == []


@pytest.mark.parametrize(("catch_up", "expected"), [("skip", 0), ("one", 1), ("all", 1000)])
async def test_f6_a_day_of_missed_minutes_begins_none_one_or_at_most_a_thousand_runs(
    database: str, catch_up: Any, expected: int
) -> None:
    async with AsyncClient(database) as client:
        await client.schedule(ticked, "x", "minutely", Cron("* * * * *"), catch_up=catch_up)
        ((last, seconds),) = await rows(
            database, "SELECT date_trunc('minute', now()), extract(second FROM now())::float8"
        )
        if seconds > 50:  # the next minute must not come meanwhile
            await asyncio.sleep(60.5 - seconds)
            last += MINUTE
        late = last - (timedelta(days=1) if catch_up != "skip" else timedelta(days=1, minutes=2))
        await due_since(database, "minutely", late)
        if catch_up == "skip":
            await rows(database, "UPDATE durable.schedules SET ends_at = %s", last - 2 * MINUTE)
        async with Worker(database, [ticked]):
            await until(lambda: rows(database, MOVED_ON))
        ticks = await ticks_of(database, "minutely")
    assert ticks == [last - index * MINUTE for index in reversed(range(expected))]


MOVED_ON = "SELECT 1 FROM durable.schedules WHERE due_at IS NULL OR due_at > now()"


# F9


async def test_f9_nothing_fires_after_a_pause_or_a_deletion_has_committed(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [ticked]), Worker(database, [ticked]):
        stops: tuple[Callable[[str], Awaitable[Any]], ...] = (client.pause_schedule, client.delete_schedule)
        for turn in range(20):
            await client.schedule(ticked, "x", "often", Every(0.005), catch_up="all")
            await client.resume_schedule("often")
            fired = len(await ticks_of(database, "often"))
            await until(partial(more_ticks_than, database, "often", fired))
            await stops[turn % 2]("often")
            ticks = await ticks_of(database, "often")
            if turn % 2 == 0:
                ((state,),) = await rows(database, "SELECT to_jsonb(s) FROM durable.schedules AS s")
            await asyncio.sleep(0.03)  # six ticks
            assert await ticks_of(database, "often") == ticks
            if turn % 2 == 0:
                assert await rows(database, "SELECT to_jsonb(s) FROM durable.schedules AS s") == [(state,)]
    assert len(ticks) == len(set(ticks))


async def test_f9_no_change_of_a_schedule_is_lost_while_it_fires(database: str) -> None:
    chance = random.Random(9)

    async def change(client: AsyncClient, schedule_id: str) -> None:
        for number in range(15):
            await client.schedule(ticked, f"input {number}", schedule_id, Every(0.01 + 0.001 * number))
            ((stored,),) = await rows(
                database, "SELECT input::text FROM durable.schedules WHERE schedule_id = %s", schedule_id
            )
            assert stored == f'"input {number}"'
            match chance.randrange(3):
                case 0:
                    await client.pause_schedule(schedule_id)
                    await client.resume_schedule(schedule_id)
                case 1:
                    await client.trigger_schedule(schedule_id)
                case _:
                    await client.delete_schedule(schedule_id)
                    with pytest.raises(ScheduleNotFound):
                        await client.trigger_schedule(schedule_id)

    async with AsyncClient(database) as client, Worker(database, [ticked]), Worker(database, [ticked]):
        await asyncio.gather(*(change(client, f"schedule {number}") for number in range(4)))
        for status in await client.list_schedules():
            assert (status.schedule, status.problem) == ("@every 0.024s", None)
    assert await rows(database, "SELECT 1 FROM durable.runs WHERE schedule_id IS NULL") == []


# C15


def test_c15_ids_ascend_also_while_the_clock_is_set_back_by_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    ticks = itertools.chain([now], itertools.count(now - 3_600_000_000_000, 1000))
    monkeypatch.setattr(time, "time_ns", lambda: next(ticks))
    ids = [ids_module.uuid7() for _ in range(10_000)]
    assert ids == sorted(set(ids))


async def test_c15_events_are_read_in_the_order_of_their_commits_whatever_their_ids(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @workflow
    async def reading(ctx: Context) -> list[int]:
        return [await ctx.wait_for_event(f"wait {index}", "number", int) for index in range(3)]

    async with AsyncClient(database) as client:
        handle = await client.begin(reading)
        for number in range(3):  # each published by a process whose clock is an hour behind that of the one before
            monkeypatch.setattr(ids_module, "_clock", Behind(number))
            await handle.publish_event("number", number)
        ids = await rows(database, "SELECT event_id FROM durable.events ORDER BY created_at")
        assert ids == sorted(ids, reverse=True)
        async with Worker(database, [reading]):
            assert await handle.result(timeout=10) == [0, 1, 2]


class Behind(ids_module._Clock):
    def __init__(self, hours: int) -> None:
        super().__init__()
        self._hours = hours

    def tick(self) -> int:
        return super().tick() - (self._hours * 3_600_000 << 12)
