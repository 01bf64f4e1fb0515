"""A durable sleep outlives the process that began it: the first worker is killed while the run sleeps."""

import asyncio
import os
import signal
import subprocess
import sys

from durable import AsyncClient, Context, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


async def say(text: str) -> str:
    print(text, flush=True)
    return text


@workflow
async def reminder(ctx: Context, text: str) -> str:
    await ctx.execute("announce", say, "going to sleep")
    await ctx.sleep("a while", 1.5)
    return await ctx.execute("remind", say, text)


async def work(dsn: str) -> None:
    await Worker(dsn, [reminder]).run()


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with AsyncClient(dsn) as client:
            first = subprocess.Popen([sys.executable, __file__, dsn])
            handle = await client.begin(reminder, "wake up!")
            while (await handle.info()).status != "sleeping":
                await asyncio.sleep(0.05)
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
            print("the worker is dead; starting another one", flush=True)
            async with Worker(dsn, [reminder]):
                await handle.result(timeout=20)


asyncio.run(work(sys.argv[1]) if len(sys.argv) > 1 else main())

# Output:
# going to sleep
# the worker is dead; starting another one
# wake up!
