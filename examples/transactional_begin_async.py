"""Begin a run in the transaction that makes it necessary, from an asyncio application."""

import asyncio

import psycopg

from durable import AsyncClient, Context, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


async def send_invoice(order: int) -> str:
    return f"invoice for order {order} sent"


@workflow
async def invoice(ctx: Context, order: int) -> str:
    return await ctx.execute("send", send_invoice, order)


async def shop(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection, AsyncClient(dsn) as client:
        await connection.execute("CREATE TABLE orders (id int)")
        for order, is_paid in ((1, True), (2, False)):
            await connection.execute("INSERT INTO orders VALUES (%s)", (order,))
            run_key = await client.begin_tx(connection, invoice, order)
            if is_paid:
                await connection.commit()
                print(await client.handle(run_key, invoice).result(timeout=10))
            else:
                await connection.rollback()  # without a commit there is no run
        print(f"{len(await client.list_runs(workflow=invoice))} run was begun")


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with Worker(dsn, [invoice]):
            await shop(dsn)


asyncio.run(main())

# Output:
# invoice for order 1 sent
# 1 run was begun
