"""How long it takes after a `kill -9` of a worker until its runs are executed elsewhere: from the signal until another
worker has claimed each of them, at the default settings.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg

from benchmarks.processes import worker_processes
from benchmarks.setting import SCHEMA, Figure, Setting, fresh_schema
from benchmarks.workflows import holding
from durable import AsyncClient

_RUNS = 200
_KILLS = 10
_LOOK_SECONDS = 0.005
_PATIENCE = 60.0


async def measure(setting: Setting) -> list[Figure]:
    kills = 1 if setting.is_once else _KILLS * setting.rounds
    seconds = sorted([await _round(setting) for _ in range(kills)])
    slowest = seconds[min(len(seconds) * 99 // 100, len(seconds) - 1)]
    half = seconds[len(seconds) // 2]
    what = "killed to claimed elsewhere, the last of its runs"
    return [
        Figure(f"{what}, p50", "s", [half], is_cost=True),
        Figure(f"{what}, p99", "s", [slowest], 2.0, is_cost=True),
    ]


async def _round(setting: Setting) -> float:
    runs = setting.size(_RUNS, 10)
    with fresh_schema(setting.dsn) as look:
        async with AsyncClient(setting.dsn, schema=SCHEMA) as client:
            with worker_processes(setting.dsn, 2, "WORKFLOWS") as workers:
                await client.begin_many(holding, [600.0] * runs)
                await asyncio.to_thread(_await, look, "count(*) FILTER (WHERE status = 'running') = %s", (runs,))
                process_id, owned = _one(
                    look,
                    f"SELECT process_id, array_agg(run_id) FROM {SCHEMA}.runs JOIN {SCHEMA}.workers USING (worker_id)"
                    " GROUP BY process_id ORDER BY count(*) DESC LIMIT 1",
                    (),
                )
                (victim,) = (worker for worker in workers if worker.pid == process_id)
                victim.kill()
                killed = time.perf_counter()
                moved = "count(*) FILTER (WHERE run_id = ANY (%s) AND status = 'running' AND epoch > 1) = %s"
                await asyncio.to_thread(_await, look, moved, (owned, len(owned)))
                seconds = time.perf_counter() - killed
                for (run_id,) in look.execute(f"SELECT run_id FROM {SCHEMA}.runs").fetchall():
                    await client.terminate_run(f"holding_0:{run_id}")
                return seconds


def _await(look: psycopg.Connection[Any], condition: str, parameters: tuple[object, ...]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while _one(look, f"SELECT {condition} FROM {SCHEMA}.runs", parameters) != (True,):
        if time.monotonic() > deadline:
            raise TimeoutError(condition)
        time.sleep(_LOOK_SECONDS)


def _one(look: psycopg.Connection[Any], question: str, parameters: tuple[object, ...]) -> tuple[Any, ...]:
    row = look.execute(question.encode(), parameters).fetchone()
    assert row is not None
    return tuple(row)
