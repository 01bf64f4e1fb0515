"""Schedules whose workers die and are away for a day; and ticks by the million beside a clock that is watched."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from random import Random
from typing import Any

from durable import Cron
from durable.core.schedules.timetable import Timetable
from tests.faults.clockwork import compare
from tests.faults.families import FAMILIES
from tests.faults.stage import Stage, fault
from tests.faults.workload import ticking

_WORKERS = 10
_DAY = timedelta(days=1)
_EXPRESSIONS = ("*/5 * * * *", "*/10 * * * *", "7 * * * *", "*/20 0-11 * * *", "30 1,2,3 * * *", "0 */2 * * MON-SUN")
_ZONES = ("UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Europe/Dublin", "Africa/Casablanca")
_PUT_BACK = """
    UPDATE durable.schedules SET anchor_at = anchor_at - interval '1 day', next_tick_at = %s, due_at = %s
    WHERE schedule_id = %s RETURNING last_tick_at
"""
_BEGUN = "SELECT count(*) FROM durable.runs WHERE schedule_id = ANY(%s)"
_AT_ONCE = 2


@fault(
    row=21,
    how=f"schedules that {_WORKERS} workers find a day late, while workers are killed",
    target="each tick of the day begins one run",
    sizes={"smoke": 3, "campaign": 40, "soak": 1000},
    workers=_WORKERS,
    families=FAMILIES[:2],
    in_flight=10,
)
async def ticks_missed(stage: Stage) -> None:
    kills = 0

    async def kill() -> None:
        nonlocal kills
        while True:
            await asyncio.sleep(stage.random.uniform(0.3, 1.0))
            stage.random.choice(stage.fleet.alive).kill()
            kills += 1
            stage.fleet.keep(_WORKERS)

    killing = asyncio.create_task(kill())
    try:
        for number in itertools.count():
            names = [f"missed {number}.{index}" for index in range(_AT_ONCE)]
            missed = sum([await _miss_a_day(stage, name) for name in names])

            async def are_begun(names: list[str] = names, missed: int = missed) -> bool:
                return bool((await stage.observer.rows(_BEGUN, (names,)))[0][0] >= missed)

            if await stage.until(are_begun, 60, f"{missed} missed ticks begin their runs"):
                stage.injected(_AT_ONCE)
            if stage.count >= stage.size:
                break
    finally:
        killing.cancel()
    stage.noted(f"{kills} workers killed")


async def _miss_a_day(stage: Stage, name: str) -> int:
    """Makes a schedule that nobody has looked at for a day, as far as the tables tell. Returns how many ticks it has
    missed, at least."""
    cron, zone = Cron(stage.random.choice(_EXPRESSIONS)), stage.random.choice(_ZONES)
    async with stage.load.connection() as connection, connection.transaction():
        await stage.load.client.schedule_tx(connection, ticking, None, name, cron, timezone=zone, catch_up="all")
        found = await connection.execute("SELECT anchor_at FROM durable.schedules WHERE schedule_id = %s", (name,))
        ((anchor,),) = await found.fetchall()
        timetable = Timetable(schedule=cron, anchor=anchor - _DAY, timezone=zone)
        first = timetable.next_tick(anchor - _DAY)
        await connection.execute(_PUT_BACK, (first, first, name))
    return len(timetable.ticks(anchor - _DAY, anchor, 1000))


@fault(
    row=21,
    how="random cron expressions in every zone and year from 1975 to 2037, compared with watching a clock",
    target="1,000,000 ticks, all exact",
    sizes={"smoke": 5000, "campaign": 1_000_000, "soak": 20_000_000},
    workers=1,
    families=FAMILIES[:1],
    schedules=False,
    in_flight=1,
)
async def ticks_modelled(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        pending: set[asyncio.Future[Any]] = set()
        while stage.count < stage.size:
            while len(pending) < 4:
                pending.add(loop.run_in_executor(pool, compare, Random(stage.random.getrandbits(64))))
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                ticks, wrong = await each
                stage.injected(ticks)
                for what in wrong:
                    stage.violated("I6", what)
        await asyncio.gather(*pending)
