"""The first answer of the database, however long it takes."""

from __future__ import annotations

import asyncio

import psycopg

from durable.postgres.outages import is_outage
from durable.postgres.pooling import check_pooling
from durable.store.settings import read_settings
from durable.worker.database import Database
from durable.worker.tasks import cancel_and_wait


async def first_contact(database: Database, stop: asyncio.Event) -> int | None:
    """Returns the shard count, ``None`` if the worker was stopped before the database answered. Raises ``SchemaError``,
    the error about statement pooling, and whatever psycopg raises if the database can be reached and refuses."""
    while not stop.is_set():
        try:
            async with database.engine() as connection:
                settings = await connection.run(read_settings())
                if database.is_pooled:
                    await check_pooling(connection.psycopg)
                return settings.shard_count
        except (psycopg.Error, OSError) as error:
            if not is_outage(error):
                raise
            next_try = asyncio.create_task(database.outages.pause("waiting for the database", error))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({next_try, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait([next_try, stopping])
    return None
