"""How much memory a waiting run takes while it stays resident in its worker: the growth of the worker's process,
divided by 100,000 runs that wait for an event.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from typing import Any

import psutil
import psycopg

from benchmarks.setting import SCHEMA, Figure, Setting, fresh_schema
from benchmarks.workflows import listening, steps
from durable import AsyncClient, Worker

_RUNS = 100_000
_A_BATCH = 5_000
_LOOK_SECONDS = 0.2


async def measure(setting: Setting) -> list[Figure]:
    runs = setting.size(_RUNS, 200)
    with fresh_schema(setting.dsn) as look:
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(setting.dsn, runs))
        process.start()
        try:
            assert process.pid is not None
            worker = psutil.Process(process.pid)
            async with AsyncClient(setting.dsn, schema=SCHEMA) as client:
                # Goes once through everything that is loaded and cached on first use.
                await client.begin_many(steps, [1] * min(runs, 1000))
                await asyncio.to_thread(_await, look, "completed", min(runs, 1000))
                before = worker.memory_info().rss
                for first in range(0, runs, _A_BATCH):
                    await client.begin_many(listening, [None] * min(_A_BATCH, runs - first))
                await asyncio.to_thread(_await, look, "waiting_event", runs)
            grown = worker.memory_info().rss - before
        finally:
            process.terminate()
            process.join()
    return [Figure(f"{runs:,} resident runs, each", "KiB", [grown / runs / 1024], 10.0, is_cost=True)]


def _work(dsn: str, runs: int) -> None:
    asyncio.run(Worker(dsn, [steps, listening], schema=SCHEMA, max_resident=runs).run())


def _await(look: psycopg.Connection[Any], status: str, count: int) -> None:
    counted = f"SELECT count(*) FROM {SCHEMA}.runs WHERE status = %s"
    while look.execute(counted, (status,)).fetchone() != (count,):
        time.sleep(_LOOK_SECONDS)
