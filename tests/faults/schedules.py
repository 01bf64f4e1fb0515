"""The schedules of the workload: made by the load, and at the end brought up to date and paused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from durable import AsyncClient, Cron, Every
from durable.core.schedules.expressions import Schedule
from tests.faults.workload import ticking

_SCHEDULES: dict[str, Schedule] = {"seldom": Every(1.0), "often": Every(0.37), "minutes": Cron("* * * * *")}
_LOOK_SECONDS = 0.05

Surely = Callable[[Callable[[], Awaitable[object]]], Awaitable[object]]


async def make_schedules(client: AsyncClient, surely: Surely) -> None:
    """Each tick is to begin one run, however late."""
    for schedule_id, schedule in _SCHEDULES.items():

        async def make(schedule_id: str = schedule_id, schedule: Schedule = schedule) -> object:
            return await client.schedule(ticking, None, schedule_id, schedule, catch_up="all")

        await surely(make)


async def pause_schedules(client: AsyncClient, surely: Surely, is_late: Callable[[], Awaitable[bool]]) -> None:
    """Returns once no schedule is late and all are paused."""
    while await is_late():
        await asyncio.sleep(_LOOK_SECONDS)
    for schedule_id in _SCHEDULES:

        async def pause(schedule_id: str = schedule_id) -> object:
            await client.pause_schedule(schedule_id)
            return None

        await surely(pause)
