"""Undo earlier steps when a later step fails for good, or when the run is cancelled."""

import asyncio

from durable import AsyncClient, Call, Context, RetryPolicy, StepFailed, Terminal, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


async def reserve(item: str) -> str:
    print(f"reserve {item}")
    return f"reservation of {item}"


async def charge(item: str) -> str:
    print(f"charge for {item}")
    if item == "unicorn":
        raise Terminal("the card was declined")  # skips every retry
    return "receipt"


async def release(reservation: str) -> None:
    print(f"release the {reservation}")


@workflow
async def order(ctx: Context, item: str) -> str:
    try:
        async with ctx.saga() as saga:
            reservation = await ctx.execute("reserve", reserve, item)
            saga.undo("reserve", release, reservation)
            await ctx.execute(Call("charge", retry=RetryPolicy(max_retries=5)), charge, item)
    except StepFailed as failure:
        return f"no {item}: {failure.message}"
    return f"{item} is yours"


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with AsyncClient(dsn) as client, Worker(dsn, [order]):
            for item in ("book", "unicorn"):
                print(await (await client.begin(order, item)).result(timeout=10))


asyncio.run(main())

# Output:
# reserve book
# charge for book
# book is yours
# reserve unicorn
# charge for unicorn
# release the reservation of unicorn
# no unicorn: the card was declined
