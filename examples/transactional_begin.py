"""Begin a run in the transaction that makes it necessary, from an application without asyncio."""

import asyncio

import psycopg

from durable import Client, Context, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


async def send_invoice(order: int) -> str:
    return f"invoice for order {order} sent"


@workflow
async def invoice(ctx: Context, order: int) -> str:
    return await ctx.execute("send", send_invoice, order)


def shop(dsn: str) -> None:
    with psycopg.connect(dsn) as connection, Client(dsn) as client:
        connection.execute("CREATE TABLE orders (id int)")
        for order, is_paid in ((1, True), (2, False)):
            connection.execute("INSERT INTO orders VALUES (%s)", (order,))
            run_key = client.begin_tx(connection, invoice, order)
            if is_paid:
                connection.commit()
                print(client.handle(run_key, invoice).result(timeout=10))
            else:
                connection.rollback()  # without a commit there is no run
        print(f"{len(client.list_runs(workflow=invoice))} run was begun")


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with Worker(dsn, [invoice]):
            await asyncio.to_thread(shop, dsn)


asyncio.run(main())

# Output:
# invoice for order 1 sent
# 1 run was begun
