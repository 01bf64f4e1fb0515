"""Runs that wait for a shared resource, which one of them has at a time.

Temporal's `resource_pool`. Whoever needs a resource asks the pool, a run that lives for ever, and gives it back.
"""

import asyncio
from typing import Literal

import msgspec

from durable import AsyncClient, Context, Event, Worker, workflow


class Wish(msgspec.Struct):
    kind: Literal["needed by", "given back"]
    what: str


class Stock(msgspec.Struct):
    free: list[str]
    waiting: list[str] = []


wishes = Event("wish", Wish)
yours = Event("yours", str)
used: list[tuple[str, str]] = []


async def use(resource: str, task: str) -> None:
    used.append((resource, f"{task} begins"))
    await asyncio.sleep(0.01)
    used.append((resource, f"{task} ends"))


@workflow
async def pool(ctx: Context, stock: Stock) -> None:
    free, waiting = stock.free, stock.waiting
    for turn, wish in enumerate(await ctx.wait_for_events("wishes", wishes, max=100, within=0)):
        (waiting if wish.kind == "needed by" else free).append(wish.what)
        if free and waiting:
            await ctx.publish_event(f"give-{turn}", waiting.pop(0), yours, free.pop(0))
    await ctx.continue_as_new(Stock(free, waiting))


@workflow
async def task(ctx: Context, name: str) -> str:
    await ctx.publish_event("ask", (pool, "pool"), wishes, Wish("needed by", str(ctx.run_key)))
    resource = await ctx.wait_for_event("yours", yours)
    try:
        await ctx.execute("use", use, resource, name)
    finally:
        await ctx.publish_event("give back", (pool, "pool"), wishes, Wish("given back", resource))
    return resource


async def main(dsn: str) -> list[str]:
    async with AsyncClient(dsn) as client, Worker(dsn, [pool, task]):
        await client.begin(pool, Stock(["red", "blue"]), key="pool")
        run_keys = await client.begin_many(task, [f"task {number}" for number in range(6)])
        return await asyncio.gather(*(client.handle(run_key, task).result() for run_key in run_keys))
