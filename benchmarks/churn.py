"""What an hour of churn, at 100 runs per second but worked through as fast as possible, does to the tables at the
settings of the schema: the rate at its end as a multiple of the rate at its beginning, and the dead rows that it leaves
behind.

The hour takes about a minute: on a server of its own, autovacuum looks every second instead of every minute.

It is measured once with the whole history kept, and once while runs are deleted five seconds after their end. For the
latter, the figures also show how much the tables grow after the first sixth, what share of the runs is left, and the
rate as a multiple of the rate without deletion.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import msgspec
import psycopg

from benchmarks.processes import worker_processes
from benchmarks.setting import SCHEMA, Figure, Setting, fresh_schema
from benchmarks.workflows import steps
from durable import AsyncClient
from durable.admin.pruning import prune

_RUNS = 360_000
_SLICES = 6
_KEPT_SECONDS = 5.0
_PRUNE_SECONDS = 1.0
_LOOK_SECONDS = 0.02
_BYTES = """
    SELECT sum(pg_total_relation_size(oid))::float8 FROM pg_class
    WHERE relnamespace = %s::regnamespace AND relkind = 'r'
"""
_ROWS = """
    SELECT 100.0::float8 * sum(n_dead_tup) / greatest(sum(n_live_tup), 1),
           100.0::float8 * sum(n_tup_hot_upd) / greatest(sum(n_tup_upd), 1)
    FROM pg_stat_user_tables WHERE schemaname = %s AND relname IN ('runs', 'steps')
"""


class _Churned(msgspec.Struct, frozen=True):
    """``seconds`` and ``sizes`` (bytes of all tables) are those of each slice; the rest is in percent, at the end."""

    seconds: list[float]
    sizes: list[float]
    dead: float
    in_page: float
    left: float

    @property
    def speedup(self) -> float:
        return self.seconds[0] / self.seconds[-1]

    @property
    def growth(self) -> float:
        return self.sizes[-1] / self.sizes[0]


async def measure(setting: Setting) -> list[Figure]:
    runs = setting.size(_RUNS, 600)
    with _fast_autovacuum(setting.dsn) if setting.is_own else nullcontext():
        rounds = [
            (await _churn(setting, runs, is_pruned=False), await _churn(setting, runs, is_pruned=True))
            for _ in range(setting.rounds)
        ]
    all_kept, all_pruned = zip(*rounds, strict=True)
    what, and_pruned = f"churn of {runs:,} runs", f"the same, deleted {_KEPT_SECONDS:g} s after their end"
    rate, growth = "rate of the last sixth ÷ that of the first", "bytes at the end ÷ those after the first sixth"
    return [
        Figure(f"{what}: {rate}", "times", [each.speedup for each in all_kept], 0.9),
        Figure(f"{what}: dead rows to live ones", "%", [each.dead for each in all_kept], is_cost=True),
        Figure(f"{what}: updates in the page (HOT)", "%", [each.in_page for each in all_kept]),
        Figure(f"{and_pruned}: {rate}", "times", [each.speedup for each in all_pruned], 0.9),
        Figure(f"{and_pruned}: {growth}", "times", [each.growth for each in all_pruned], 1.2, is_cost=True),
        Figure(f"{and_pruned}: runs that are left", "%", [each.left for each in all_pruned], is_cost=True),
        Figure(
            f"{and_pruned}: rate ÷ that without",
            "times",
            [sum(kept.seconds) / sum(pruned.seconds) for kept, pruned in rounds],
        ),
    ]


async def _churn(setting: Setting, runs: int, *, is_pruned: bool) -> _Churned:
    """All that is begun is worked off before more is, so that the backlog does not grow."""
    seconds: list[float] = []
    sizes: list[float] = []
    with (
        fresh_schema(setting.dsn) as look,
        worker_processes(setting.dsn, 1, "WORKFLOWS"),
        _pruning(setting.dsn) if is_pruned else nullcontext(),
    ):
        async with AsyncClient(setting.dsn, schema=SCHEMA) as client:
            for _ in range(_SLICES):
                started = time.perf_counter()
                for _ in range(5):
                    await client.begin_many(steps, [1] * (runs // _SLICES // 5))
                    await asyncio.to_thread(_await_no_more, look)
                seconds.append(time.perf_counter() - started)
                sizes.append(_row(look, _BYTES, SCHEMA)[0])
        dead, in_page = _row(look, _ROWS, SCHEMA)
        (left,) = _row(look, f"SELECT count(*) FROM {SCHEMA}.runs")
    return _Churned(seconds, sizes, dead, in_page, 100 * left / runs)


@contextmanager
def _fast_autovacuum(dsn: str) -> Iterator[None]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET autovacuum_naptime")
            connection.execute("SELECT pg_reload_conf()")


@contextmanager
def _pruning(dsn: str) -> Iterator[None]:
    is_over = threading.Event()

    def prune_on() -> None:
        while not is_over.wait(_PRUNE_SECONDS):
            prune(dsn, older_than=_KEPT_SECONDS, schema=SCHEMA)

    with ThreadPoolExecutor(1) as thread:
        pruning = thread.submit(prune_on)
        try:
            yield
        finally:
            is_over.set()
        pruning.result()


def _await_no_more(look: psycopg.Connection[Any]) -> None:
    is_open = f"SELECT EXISTS (SELECT FROM {SCHEMA}.runs WHERE status IN ('queued', 'running'))"
    while _row(look, is_open) == (True,):
        time.sleep(_LOOK_SECONDS)


def _row(look: psycopg.Connection[Any], statement: str, *params: Any) -> Any:
    row = look.execute(statement.encode(), params).fetchone()
    assert row is not None
    return row
