"""A reminder whose time can be changed while it waits.

Temporal's `updatable_timer`. The run sleeps until the moment that it was given last; an event that gives another moment
wakes it up. `asyncio.wait` has the same winner on every replay.
"""

import asyncio
from datetime import datetime, timedelta
from itertools import count

from durable import AsyncClient, Context, Worker, workflow


@workflow
async def reminder(ctx: Context, moment: datetime) -> str:
    for number in count():
        alarm = asyncio.create_task(ctx.sleep_until(f"alarm {number}", moment))
        change = asyncio.create_task(ctx.wait_for_event(f"change {number}", "moment", datetime))
        await asyncio.wait({alarm, change}, return_when=asyncio.FIRST_COMPLETED)
        if alarm.done():
            change.cancel()
            return f"woke up after {number} changes"
        alarm.cancel()
        moment = change.result()
        ctx.set_status(moment)
    raise AssertionError("count never ends")


async def main(dsn: str) -> str:
    async with AsyncClient(dsn) as client, Worker(dsn, [reminder]):
        now = datetime.now().astimezone()
        handle = await client.begin(reminder, now + timedelta(days=365))
        await handle.publish_event("moment", now + timedelta(days=30))
        await handle.publish_event("moment", now + timedelta(seconds=1))
        return await handle.result()
