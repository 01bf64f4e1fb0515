"""What a larger fleet costs: 1-step runs, begun one by one at 100 a second, with 1, 4, 12 and 24 worker processes. How
often the workers look for runs (claims), all statements, and CPU of the workers, each for one run; and how long one run
takes from `begin` to its result, also as a multiple of that with one worker.

The processes share the machine's cores: what is measured is the cost of being many, not what many could do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import psutil
import psycopg

from benchmarks.processes import worker_processes
from benchmarks.setting import SCHEMA, Figure, Setting, fresh_schema, quantiles
from benchmarks.workflows import steps
from durable import AsyncClient

_WORKERS = (1, 4, 12, 24)
_A_SECOND = 100
_SECONDS = 5.0
_TICK_SECONDS = 0.002
_SETTLING = 6.0
"""Until the workers know of each other."""
_TIMEOUT = 60.0
_MOST_LOOKS = 2.0
_MOST_TIMES_ONE_WORKER = 3.0

_LOOK = "%due AS MATERIALIZED%"


class Round(msgspec.Struct, frozen=True):
    looks: float
    statements: float
    cpu: float
    seconds: list[float]


async def measure(setting: Setting) -> list[Figure]:
    fleets = _WORKERS[:2] if setting.is_once else _WORKERS
    rounds: dict[int, list[Round]] = {workers: [] for workers in fleets}
    for _ in range(setting.rounds):
        for workers in fleets:
            rounds[workers].append(await _round(setting, workers))
    return figures_of(rounds)


def figures_of(rounds: Mapping[int, Sequence[Round]]) -> list[Figure]:
    """Returns the figures of fleets of these sizes, one worker among them; only the largest has targets."""
    figures: list[Figure] = []
    alone = [_median(one.seconds) for one in rounds[1]]
    for workers, measured in rounds.items():
        is_largest = workers == _WORKERS[-1]
        what = f"workers: {workers}"
        most = _MOST_LOOKS if is_largest else None
        figures.append(Figure(f"{what}: looks", "a run", [one.looks for one in measured], most, is_cost=True))
        figures.append(Figure(f"{what}: statements", "a run", [one.statements for one in measured], is_cost=True))
        figures.append(Figure(f"{what}: CPU of the workers", "ms a run", [one.cpu for one in measured], is_cost=True))
        figures += quantiles(f"{what}: begin to result", [each for one in measured for each in one.seconds])
        times = [_median(one.seconds) / base for one, base in zip(measured, alone, strict=True)]
        most = _MOST_TIMES_ONE_WORKER if is_largest else None
        figures.append(Figure(f"{what}: p50 ÷ that of one worker", "times", times, most, is_cost=True))
    return figures


async def _round(setting: Setting, workers: int) -> Round:
    with fresh_schema(setting.dsn) as look, worker_processes(setting.dsn, workers, "steps") as processes:
        look.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public")
        await asyncio.sleep(_SETTLING)
        async with AsyncClient(setting.dsn, schema=SCHEMA) as client:
            await _timed(client)
            look.execute("SELECT public.pg_stat_statements_reset()")
            busy = _busy(processes)
            seconds = await _begun_evenly(client, 0.2 if setting.is_once else _SECONDS)
        runs = len(seconds)
        cpu = 1000 * (_busy(processes) - busy) / runs
        return Round(_calls(look, _LOOK) / runs, _calls(look, "%") / runs, cpu, seconds)


async def _begun_evenly(client: AsyncClient, duration: float) -> list[float]:
    started = time.perf_counter()
    begun: list[asyncio.Task[float]] = []
    while (elapsed := time.perf_counter() - started) < duration:
        while len(begun) < elapsed * _A_SECOND:
            begun.append(asyncio.create_task(_timed(client)))
        await asyncio.sleep(_TICK_SECONDS)
    return list(await asyncio.gather(*begun))


async def _timed(client: AsyncClient) -> float:
    started = time.perf_counter()
    await (await client.begin(steps, 1)).result(timeout=_TIMEOUT)
    return time.perf_counter() - started


def _calls(look: psycopg.Connection[Any], like: str) -> int:
    row = look.execute(
        "SELECT coalesce(sum(calls), 0)::bigint FROM public.pg_stat_statements WHERE query LIKE %s", (like,)
    ).fetchone()
    assert row is not None
    return int(row[0])


def _busy(processes: list[Any]) -> float:
    times = [psutil.Process(process.pid).cpu_times() for process in processes]
    return float(sum(time.user + time.system for time in times))


def _median(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]
