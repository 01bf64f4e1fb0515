"""The workflows that are measured, and the schema they are measured in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from durable import Context, workflow
from durable.migrate import migrate

SCHEMA = "durable_benchmark"


async def increment(number: int) -> int:
    return number + 1


@workflow(concurrency=500)
async def steps(ctx: Context, count: int) -> int:
    """``count`` sequential steps, each durable before the next begins."""
    number = 0
    for index in range(count):
        number = await ctx.execute(f"step {index}", increment, number)
    return number


@workflow(concurrency=500)
async def waiting(ctx: Context) -> str:
    return await ctx.wait_for_event("wait", "go", str)


@workflow(concurrency=500)
async def scheduled(ctx: Context) -> None:
    """Nothing but a run."""


@contextmanager
def fresh_schema(dsn: str) -> Iterator[None]:
    """An empty schema of our own, dropped afterwards."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        migrate(dsn, schema=SCHEMA)
        try:
            yield
        finally:
            connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def spread(values: list[float]) -> tuple[float, float, float]:
    """Minimum, median, maximum."""
    ordered = sorted(values)
    return ordered[0], ordered[len(ordered) // 2], ordered[-1]
