"""A customer and the schedule of her reports are stored in one transaction: either both exist or neither does."""

import asyncio

import psycopg

from durable import AsyncClient, Context, Every, Worker, workflow
from durable.admin import migrate
from durable.embedded import database

reported = asyncio.Event()


async def send(name: str, number: int) -> None:
    print(f"report {number} for {name}")
    if number == 3:
        reported.set()


@workflow
async def report(ctx: Context, name: str) -> None:
    assert ctx.scheduled_at is not None
    number = await ctx.transaction("count", count_up, name)
    await ctx.execute("send", send, name, number)


async def count_up(tx: psycopg.AsyncConnection, name: str) -> int:
    cursor = await tx.execute("UPDATE customers SET reports = reports + 1 WHERE name = %s RETURNING reports", (name,))
    (number,) = await cursor.fetchone() or (0,)
    return int(number)


async def sign_up(tx: psycopg.AsyncConnection, client: AsyncClient, name: str) -> None:
    await tx.execute("INSERT INTO customers VALUES (%s, 0)", (name,))
    # In production: Cron("0 9 * * 1-5"), timezone="Europe/Zurich"
    await client.schedule_tx(tx, report, name, f"reports for {name}", Every(0.2), overlap="buffer_one")


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with await psycopg.AsyncConnection.connect(dsn) as tx, AsyncClient(dsn) as client:
            await tx.execute("CREATE TABLE IF NOT EXISTS customers (name text, reports integer)")
            await sign_up(tx, client, "Bob")
            await tx.rollback()
            await tx.execute("CREATE TABLE IF NOT EXISTS customers (name text, reports integer)")
            await sign_up(tx, client, "Ada")
            await tx.commit()
            async with Worker(dsn, [report]):
                await reported.wait()
                await client.delete_schedule("reports for Ada")


asyncio.run(main())

# Output:
# report 1 for Ada
# report 2 for Ada
# report 3 for Ada
