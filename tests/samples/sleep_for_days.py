"""A mail every thirty days until somebody says that it is enough.

Temporal's `sleep_for_days`. A run that waits occupies no worker, so the days cost nothing, and the wait survives every
restart and deploy. The event and the end of the wait cannot both happen: which came first is recorded.
"""

import asyncio
from datetime import timedelta
from itertools import count

from durable import AsyncClient, Context, EventTimeout, Worker, workflow

mails: asyncio.Queue[str] = asyncio.Queue()


async def send_mail(text: str) -> None:
    await mails.put(text)


@workflow
async def newsletter(ctx: Context, pause: timedelta) -> str:
    for number in count(1):
        await ctx.execute(f"mail {number}", send_mail, f"newsletter {number}")
        try:
            await ctx.wait_for_event(f"pause {number}", "enough", timeout=pause)
        except EventTimeout:
            continue
        return f"ended after {number} mails"
    raise AssertionError("count never ends")


async def main(dsn: str) -> tuple[list[str], str]:
    async with AsyncClient(dsn) as client, Worker(dsn, [newsletter]):
        handle = await client.begin(newsletter, timedelta(seconds=0.3))  # in production: timedelta(days=30)
        received = [await mails.get() for _ in range(3)]
        await handle.publish_event("enough")
        return received, await handle.result()
