"""What an idle worker costs: statements per second as the server counts them, and the CPU usage of the worker's
process, with 1 and 50 workflows on 1 and 32 shard values, measured from 15 seconds after its start.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psutil
import psycopg

from benchmarks.processes import worker_processes
from benchmarks.setting import Figure, Setting, fresh_schema
from durable import Context, Workflow, workflow

_SETTLING = 15.0
_WATCHED = 60.0


def _named(name: str) -> Workflow[Any, Any]:
    @workflow(name=name)
    async def nothing(ctx: Context) -> None: ...

    return nothing


ONE = [_named("idle")]
FIFTY = [_named(f"idle{number}") for number in range(50)]


async def measure(setting: Setting) -> list[Figure]:
    figures: list[Figure] = []
    for names, workflows in (("ONE", 1), ("FIFTY", 50)):
        for shards in (1, 32):
            statements, cpu = await asyncio.to_thread(_round, setting, names, shards)
            target = 1.5 if (workflows, shards) == (1, 1) else None
            what = f"workflows: {workflows}, shard values: {shards}"
            figures.append(Figure(f"{what}: statements", "1/s", [statements], target, is_cost=True))
            figures.append(Figure(f"{what}: CPU of the worker", "%", [cpu], is_cost=True))
    return figures


def _round(setting: Setting, names: str, shards: int) -> tuple[float, float]:
    settling, watched = (0.1, 1.0) if setting.is_once else (_SETTLING, _WATCHED)
    with (
        fresh_schema(setting.dsn, shard_count=shards) as look,
        worker_processes(setting.dsn, 1, names, names="benchmarks.idle") as (process,),
    ):
        look.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public")
        time.sleep(settling)
        worker = psutil.Process(process.pid)
        before, busy, started = _calls(look), _busy(worker), time.perf_counter()
        time.sleep(watched)
        seconds = time.perf_counter() - started
        return (_calls(look) - before - 1) / seconds, 100 * (_busy(worker) - busy) / seconds


def _calls(look: psycopg.Connection[Any]) -> int:
    row = look.execute("SELECT sum(calls)::bigint FROM public.pg_stat_statements").fetchone()
    assert row is not None
    return int(row[0])


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
