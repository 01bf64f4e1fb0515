"""A cancelled run cleans up with durable steps; a run that takes too long is cancelled by its timeout."""

import asyncio

from durable import AsyncClient, Context, RunCancelled, RunFailed, Worker, workflow
from durable.admin import migrate
from durable.embedded import database

reserved = asyncio.Event()


async def reserve(seat: str) -> None:
    print(f"reserved {seat}")
    reserved.set()


async def release(seat: str) -> None:
    print(f"released {seat}")


@workflow
async def booking(ctx: Context, seat: str) -> str:
    await ctx.execute("reserve", reserve, seat)
    try:
        return await ctx.wait_for_event("payment", "paid", str)
    finally:
        await ctx.execute("release", release, seat)


@workflow(timeout=0.2)
async def hurried(ctx: Context) -> None:
    await ctx.sleep("a year", 365 * 86400)


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with AsyncClient(dsn) as client, Worker(dsn, [booking, hurried]):
            handle = await client.begin(booking, "12A")
            await reserved.wait()
            await handle.cancel("the customer left")
            try:
                await handle.result(timeout=10)
            except RunCancelled as error:
                print(error.reason)
            try:
                await (await client.begin(hurried)).result(timeout=10)
            except RunFailed as error:
                print(error.error.type)


asyncio.run(main())

# Output:
# reserved 12A
# released 12A
# the customer left
# RunTimeout
