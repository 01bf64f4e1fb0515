"""Begin a run in a Django transaction."""

import asyncio

import django
from django.conf import settings
from django.db import connection, transaction
from psycopg.conninfo import conninfo_to_dict

from durable import Client, Context, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


async def send_invoice(order: int) -> str:
    return f"invoice for order {order} sent"


@workflow
async def invoice(ctx: Context, order: int) -> str:
    return await ctx.execute("send", send_invoice, order)


def shop(dsn: str) -> None:
    options = conninfo_to_dict(dsn)
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": options.pop("dbname"),
                "OPTIONS": options,
            }
        }
    )
    django.setup()
    with Client(dsn) as client:
        with transaction.atomic():
            paid = client.begin_tx(connection, invoice, 1)
        print(client.handle(paid, invoice).result(timeout=10))
        with transaction.atomic():
            client.begin_tx(connection, invoice, 2)
            transaction.set_rollback(True)  # without a commit there is no run
        print(f"{len(client.list_runs(workflow=invoice))} run was begun")
    connection.close()


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with Worker(dsn, [invoice]):
            await asyncio.to_thread(shop, dsn)


asyncio.run(main())

# Output:
# invoice for order 1 sent
# 1 run was begun
