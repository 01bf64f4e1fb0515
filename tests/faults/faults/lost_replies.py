"""What was asked is done, and the connection breaks in place of the answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

from durable import Cron, ScheduleNotFound
from tests.faults.stage import Stage, fault
from tests.faults.wires import spawn_wired
from tests.faults.workload import ticking
from tests.proxy import Proxy

_WIRED = 3
_PAUSE_SECONDS = 0.15
_SELDOM = Cron("0 0 29 2 *")


@fault(
    row=7,
    how="a proxy drops the answer to something that was executed and resets the connection: commits of workers,"
    " anything that an application sends",
    target="0 duplicates, 0 losses",
    sizes={"smoke": 60, "campaign": 2000, "soak": 20_000},
    workers=1,
)
async def lost_replies(stage: Stage) -> None:
    desk = await stage.exits.enter_async_context(Proxy(stage.options.direct))
    proxies = [desk, *(wired.proxy for wired in await spawn_wired(stage, _WIRED))]
    await stage.load.lead(desk.conninfo)
    ordering = asyncio.create_task(_change_schedules(stage))
    armed = dict.fromkeys(proxies, 0)
    while sum(armed.values()) < stage.size:
        await asyncio.sleep(stage.random.uniform(0.0, _PAUSE_SECONDS))
        proxy = stage.random.choice([proxy for proxy in proxies if proxy.lost_replies == armed[proxy]] or [desk])
        armed[proxy] += 1
        if proxy is desk and stage.random.random() < 0.5:
            proxy.lose_next_answers()
        else:
            proxy.lose_reply_of_commit()
    await stage.until(lambda: all(proxy.lost_replies == armed[proxy] for proxy in proxies), 30, "all answers are lost")
    stage.injected(sum(proxy.lost_replies for proxy in proxies))
    await stage.load.lead(stage.options.direct)
    await ordering


async def _change_schedules(stage: Stage) -> None:
    """Makes and deletes schedules that fire in years, each with a first run at once, until all is injected."""
    client, surely = stage.load.client, stage.load.surely
    for number in itertools.count():
        if stage.count >= stage.size:
            return
        schedule_id = f"seldom {number}"

        async def make(schedule_id: str = schedule_id) -> object:
            return await client.schedule(ticking, None, schedule_id, _SELDOM, run_now=True)

        async def pause(schedule_id: str = schedule_id) -> None:
            await client.pause_schedule(schedule_id)

        async def delete(schedule_id: str = schedule_id) -> None:
            with contextlib.suppress(ScheduleNotFound):  # a try whose outcome was in doubt had done it
                await client.delete_schedule(schedule_id)

        await surely(make)
        await surely(pause)
        if not await _stands(stage, schedule_id):
            stage.violated("I2", f"schedule {schedule_id!r} was made and paused, and is not so")
        await surely(delete)
        if await _stands(stage, schedule_id):
            stage.violated("I2", f"schedule {schedule_id!r} was deleted, and is there")


async def _stands(stage: Stage, schedule_id: str) -> bool:
    """Whether it is there, paused, and has begun one run."""
    ((stands,),) = await stage.observer.rows(
        "SELECT EXISTS (SELECT FROM durable.schedules WHERE schedule_id = %s AND paused)"
        " AND (SELECT count(*) FROM durable.runs WHERE schedule_id = %s) = 1",
        (schedule_id, schedule_id),
    )
    return bool(stands)
