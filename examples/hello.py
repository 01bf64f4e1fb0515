"""The shortest durable program: one step, one durable sleep, one result."""

import asyncio

from durable import AsyncClient, Context, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


async def compose(name: str) -> str:
    return f"Hello, {name}!"


@workflow
async def hello(ctx: Context, name: str) -> str:
    greeting = await ctx.execute("compose", compose, name)  # once finished, it never runs again
    await ctx.sleep("pause", 0.1)  # survives crashes and deploys, and costs nothing
    return greeting


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with AsyncClient(dsn) as client, Worker(dsn, [hello]):
            handle = await client.begin(hello, "World")
            print(await handle.result())


asyncio.run(main())

# Output:
# Hello, World!
