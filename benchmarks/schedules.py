"""How long one worker takes to begin the runs of many schedules that are due at the same moment."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg

from benchmarks.fixtures import SCHEMA, fresh_schema, scheduled, spread
from durable import AsyncClient, Cron, Worker

_COUNT = 10_000
_LOOK_SECONDS = 0.02


async def measure(dsn: str, count: int | None, rounds: int) -> dict[str, Any]:
    """Seconds from before they are made due, all in one statement, until the last run is in the table."""
    seconds = [await _round(dsn, count or _COUNT) for _ in range(rounds)]
    low, median, high = spread(seconds)
    print(
        f"{count or _COUNT:,} schedules due at once: all begun after {median:.2f} s "
        f"({low:.2f} to {high:.2f} s, {rounds} rounds)"
    )
    return {"seconds_until_all_begun": seconds}


async def _round(dsn: str, count: int) -> float:
    with fresh_schema(dsn):
        async with (
            AsyncClient(dsn, schema=SCHEMA) as client,
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as look,
        ):
            async with look.transaction():
                for number in range(count):
                    await client.schedule_tx(look, scheduled, None, f"schedule {number}", Cron("0 0 1 1 *"))
            async with Worker(dsn, [scheduled], schema=SCHEMA):
                started = time.perf_counter()
                moment = "date_trunc('second', clock_timestamp()) - interval '1 s'"
                await look.execute(f"UPDATE {SCHEMA}.schedules SET next_tick_at = {moment}, due_at = {moment}")
                await client.resume_schedule("schedule 0")  # wakes the worker
                while not await _are_begun(look, count):
                    await asyncio.sleep(_LOOK_SECONDS)
                return time.perf_counter() - started


async def _are_begun(look: psycopg.AsyncConnection[Any], count: int) -> bool:
    cursor = await look.execute(f"SELECT count(*) FROM {SCHEMA}.runs WHERE scheduled_at IS NOT NULL")
    return await cursor.fetchone() == (count,)
