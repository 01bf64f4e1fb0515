"""How long one worker takes to begin the runs of 10,000 schedules that are due at the same moment: from just before
they are made due, all in one statement, until the last run is in the table.
"""

from __future__ import annotations

import time

import psycopg

from benchmarks.processes import worker_processes
from benchmarks.setting import SCHEMA, Figure, Setting, fresh_schema
from benchmarks.workflows import scheduled
from durable import AsyncClient, Cron

_COUNT = 10_000
_LOOK_SECONDS = 0.02


async def measure(setting: Setting) -> list[Figure]:
    count = setting.size(_COUNT, 50)
    seconds = [await _round(setting, count) for _ in range(setting.rounds)]
    return [Figure(f"{count:,} schedules due at once, all begun", "s", seconds, is_cost=True)]


async def _round(setting: Setting, count: int) -> float:
    with fresh_schema(setting.dsn) as look:
        async with (
            AsyncClient(setting.dsn, schema=SCHEMA) as client,
            await psycopg.AsyncConnection.connect(setting.dsn) as connection,
        ):
            async with connection.transaction():
                for number in range(count):
                    await client.schedule_tx(connection, scheduled, None, f"schedule {number}", Cron("0 0 1 1 *"))
            with worker_processes(setting.dsn, 1, "WORKFLOWS"):
                started = time.perf_counter()
                moment = "date_trunc('second', clock_timestamp()) - interval '1 s'"
                look.execute(f"UPDATE {SCHEMA}.schedules SET next_tick_at = {moment}, due_at = {moment}")
                await client.resume_schedule("schedule 0")  # wakes the worker
                begun = f"SELECT count(*) FROM {SCHEMA}.runs WHERE scheduled_at IS NOT NULL"
                while look.execute(begun).fetchone() != (count,):
                    time.sleep(_LOOK_SECONDS)
                return time.perf_counter() - started
