"""Begin a run in an asyncpg transaction."""

import asyncio

import asyncpg
from psycopg.conninfo import conninfo_to_dict

from durable import AsyncClient, Context, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


async def send_invoice(order: int) -> str:
    return f"invoice for order {order} sent"


@workflow
async def invoice(ctx: Context, order: int) -> str:
    return await ctx.execute("send", send_invoice, order)


async def shop(dsn: str) -> None:
    options = conninfo_to_dict(dsn)
    async with asyncpg.create_pool(database=options.pop("dbname"), **options) as pool, AsyncClient(dsn) as client:
        async with pool.acquire() as connection:
            await connection.execute("CREATE TABLE orders (id int)")
            async with connection.transaction():
                await connection.execute("INSERT INTO orders VALUES ($1)", 1)
                paid = await client.begin_tx(connection, invoice, 1)
            print(await client.handle(paid, invoice).result(timeout=10))

            unpaid = connection.transaction()
            await unpaid.start()
            await client.begin_tx(connection, invoice, 2)
            await unpaid.rollback()  # without a commit there is no run
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
