"""A step is retried by its own policy; a run that fails all the same is tried again and keeps its finished steps."""

import asyncio
from collections import Counter

from durable import AsyncClient, Call, Context, RetryPolicy, RunRetryPolicy, Worker, exponential, workflow
from durable.admin import migrate
from durable.embedded import database

calls: Counter[str] = Counter()


async def prepare() -> str:
    calls["prepare"] += 1
    return "prepared"


async def deliver(state: str) -> str:
    calls["deliver"] += 1
    if calls["deliver"] <= 4:
        raise ConnectionError("nobody at home")
    return f"{state}, then delivered"


@workflow(retry=RunRetryPolicy(max_attempts=3, backoff=exponential(0.05, 1)))
async def parcel(ctx: Context) -> str:
    state = await ctx.execute("prepare", prepare)
    policy = RetryPolicy(max_retries=1, backoff=exponential(0.01, 1), timeout=5)
    return await ctx.execute(Call("deliver", retry=policy), deliver, state)


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with AsyncClient(dsn) as client, Worker(dsn, [parcel]):
            handle = await client.begin(parcel)
            print(await handle.result(timeout=10))
            print(f"{(await handle.info()).attempts} failed attempts, calls: {dict(calls)}")


asyncio.run(main())

# Output:
# prepared, then delivered
# 2 failed attempts, calls: {'prepare': 1, 'deliver': 5}
