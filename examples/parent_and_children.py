"""A run that begins other runs: each shipment has its own status and retries, and runs on any worker."""

import asyncio

from durable import AsyncClient, Context, RunFailed, Terminal, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


async def book_truck(city: str) -> str:
    if city == "Atlantis":
        raise Terminal("no road leads there")  # skips every retry
    return f"truck to {city}"


@workflow
async def shipment(ctx: Context, city: str) -> str:
    truck = await ctx.execute("book", book_truck, city)
    await ctx.sleep("drive", 0.1)
    return truck


async def try_shipment(ctx: Context, city: str) -> str:
    try:
        return await ctx.run_child(f"ship to {city}", shipment, city)
    except RunFailed as error:  # the same on every replay
        return f"nothing to {city}: {error.error.message}"


@workflow(concurrency=1)  # a parent that waits is parked and takes up no place
async def distribute(ctx: Context, cities: list[str]) -> list[str]:
    return_trip = await ctx.start_child("return trip", shipment, "Rome")  # continues whatever happens to this run
    outcomes = await asyncio.gather(*(try_shipment(ctx, city) for city in cities))
    return [*outcomes, await return_trip.result()]


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with AsyncClient(dsn) as client, Worker(dsn, [distribute, shipment]):
            handle = await client.begin(distribute, ["Basel", "Atlantis", "Lyon"])
            for outcome in await handle.result():
                print(outcome)


asyncio.run(main())

# Output:
# truck to Basel
# nothing to Atlantis: step 'book' failed: Terminal: no road leads there
# truck to Lyon
# truck to Rome
