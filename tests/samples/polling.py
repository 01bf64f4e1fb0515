"""Three ways to wait for a service that cannot call back.

Temporal's `polling/frequent`, `infrequent` and `periodic_sequence`: often, within one step that shows by its heartbeat
that it is alive; now and then, by the retries of a step, between which the run sleeps and occupies no worker; and by a
child that may go on for years, because it begins a new chapter every few polls.
"""

import asyncio
from collections import Counter

from durable import AsyncClient, Call, Context, RetryPolicy, StepFailed, Worker, current_step, workflow

calls: Counter[str] = Counter()


async def get_result(order: str) -> str:
    calls[order] += 1
    if calls[order] < int(order):
        raise ConnectionError("not ready yet")
    return f"ready after {calls[order]} calls"


async def poll_often(order: str) -> str:
    while True:
        try:
            return await get_result(order)
        except ConnectionError:
            current_step().heartbeat()
            await asyncio.sleep(0.02)


@workflow
async def frequent(ctx: Context, order: str) -> str:
    return await ctx.execute(Call("poll", retry=RetryPolicy(heartbeat=10)), poll_often, order)


@workflow
async def infrequent(ctx: Context, order: str) -> str:
    return await ctx.execute(Call("poll", retry=RetryPolicy(max_retries=10_000, backoff=2)), get_result, order)


@workflow
async def poll_in_chapters(ctx: Context, order: str) -> str:
    for poll in range(3):
        try:
            return await ctx.execute(Call(f"poll {poll}", retry=RetryPolicy(max_retries=0)), get_result, order)
        except StepFailed:
            await ctx.sleep(f"pause {poll}", 0.02)
    return await ctx.continue_as_new(order)


@workflow
async def periodic(ctx: Context, order: str) -> str:
    return await ctx.run_child("poll", poll_in_chapters, order)


async def main(dsn: str) -> list[str]:
    async with AsyncClient(dsn) as client, Worker(dsn, [frequent, infrequent, poll_in_chapters, periodic]):
        handles = [await client.begin(wf, order) for wf, order in ((frequent, "5"), (infrequent, "2"), (periodic, "8"))]
        return [await handle.result() for handle in handles]
