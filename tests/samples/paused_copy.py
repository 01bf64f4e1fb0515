"""A copy of many files that is paused while a person looks, and goes on where it was.

Hatchet's `workflow_pause` and the pause of DBOS's `s3mirror`. The workflow knows nothing of the pause: the file that is
being copied is finished, no other one is begun, and nothing is copied twice. What is paused is listed by its status.
"""

import asyncio

from durable import AsyncClient, Context, Worker, workflow

copied: list[str] = []
third = asyncio.Event()


async def copy(name: str) -> None:
    copied.append(name)
    if name == "file-2":
        third.set()
    await asyncio.sleep(0.2)


@workflow
async def mirror(ctx: Context, count: int) -> str:
    for number in range(count):
        await ctx.execute(f"copy {number}", copy, f"file-{number}")
        ctx.set_status(f"{number + 1} of {count}")
    return "mirrored"


async def main(dsn: str) -> tuple[str | None, list[str], str]:
    async with AsyncClient(dsn) as client, Worker(dsn, [mirror]):
        run = await client.begin(mirror, 8)
        await asyncio.wait_for(third.wait(), 20)
        await run.pause("is the source complete?")
        while not (paused := await client.list_runs(workflow=mirror, status="paused")):
            await asyncio.sleep(0.01)
        shown = (await client.get_run_info(paused[0].run_key)).detail
        meanwhile = list(copied)
        await run.resume()
        return shown, meanwhile, await run.result(timeout=20)
