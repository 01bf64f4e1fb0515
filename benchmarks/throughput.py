"""How many runs and steps a second one worker process completes.

The runs are begun before the clock starts; it stops when all of them are `completed` in the table. Each step is durable
(fsync on) before the next one begins. Worker, benchmark and server share the machine's cores.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg

from benchmarks.fixtures import SCHEMA, fresh_schema, spread, steps
from durable import AsyncClient, Worker

_SIZES = {1: 20_000, 10: 4_000}
_LOOK_SECONDS = 0.02


async def measure(dsn: str, runs: int | None, rounds: int) -> dict[str, Any]:
    """Figures by number of steps: runs/s and steps/s, minimum, median and maximum of the rounds."""
    figures: dict[str, Any] = {}
    for count, size in _SIZES.items():
        rates = [await _round(dsn, runs or size, count) for _ in range(rounds)]
        low, median, high = spread(rates)
        figures[f"{count} steps"] = {"runs_per_second": rates}
        print(
            f"{count:>2}-step runs: {median:>8,.0f} runs/s {median * count:>8,.0f} steps/s   "
            f"({low:,.0f} to {high:,.0f} runs/s, {rounds} rounds of {runs or size:,})"
        )
    return figures


async def _round(dsn: str, runs: int, count: int) -> float:
    with fresh_schema(dsn):
        async with AsyncClient(dsn, schema=SCHEMA) as client:
            await client.begin_many(steps, [count] * runs)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as look:
            await look.execute(f"VACUUM ANALYZE {SCHEMA}.runs")
            async with Worker(dsn, [steps], schema=SCHEMA):
                started = time.perf_counter()
                while not await _is_done(look):
                    await asyncio.sleep(_LOOK_SECONDS)
                seconds = time.perf_counter() - started
            cursor = await look.execute(
                f"SELECT count(*) FILTER (WHERE status = 'completed'), (SELECT count(*) FROM {SCHEMA}.steps) "
                f"FROM {SCHEMA}.runs"
            )
            assert await cursor.fetchone() == (runs, runs * count)
    return runs / seconds


async def _is_done(look: psycopg.AsyncConnection[Any]) -> bool:
    """Two index probes, so that looking costs the engine nothing."""
    cursor = await look.execute(
        f"SELECT NOT EXISTS (SELECT 1 FROM {SCHEMA}.runs WHERE status = 'queued' AND workflow_name_shard = 'steps_0') "
        f"AND NOT EXISTS (SELECT 1 FROM {SCHEMA}.runs WHERE status = 'running' AND workflow_name_shard = 'steps_0')"
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])
