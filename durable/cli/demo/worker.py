"""A worker process of the demo. Notes each call of a step over a separate connection, before the step does anything."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys

import psycopg

from durable.cli.demo import claims
from durable.worker.worker import Worker


async def _main(dsn: str, schema: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as journal:

        async def note(step: str, report: int) -> None:
            await asyncio.sleep(random.uniform(0, 0.05))  # real steps are not as fast as a function call
            await journal.execute(
                "INSERT INTO calls (step, report, process_id) VALUES (%s, %s, %s)", (step, report, os.getpid())
            )

        claims.note = note
        await Worker(dsn, [claims.handle_claim], schema=schema).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(_main(os.environ["DURABLE_DATABASE_URL"], sys.argv[1]))
