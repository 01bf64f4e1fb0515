"""The workflows that are measured."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg

from durable import Context, Workflow, workflow

_CONCURRENCY = 500


async def increment(number: int) -> int:
    return number + 1


async def increment_in(_: psycopg.AsyncConnection[Any], number: int) -> int:
    return number + 1


@workflow(concurrency=_CONCURRENCY)
async def steps(ctx: Context, count: int) -> int:
    """Executes ``count`` sequential steps, each durable before the next begins."""
    number = 0
    for index in range(count):
        number = await ctx.execute(f"step {index}", increment, number)
    return number


@workflow(concurrency=_CONCURRENCY)
async def transactions(ctx: Context, count: int) -> int:
    """Like ``steps``, but each step is in one transaction with its memo."""
    number = 0
    for index in range(count):
        number = await ctx.transaction(f"step {index}", increment_in, number)
    return number


@workflow(concurrency=_CONCURRENCY)
async def branches(ctx: Context, count: int) -> int:
    """Executes ``count`` steps at once."""
    return sum(await asyncio.gather(*(ctx.execute(f"step {index}", increment, index) for index in range(count))))


@workflow(concurrency=_CONCURRENCY)
async def naps(ctx: Context, count: int) -> None:
    """Sleeps ``count`` times for 10 ms; the run is parked in each sleep."""
    for index in range(count):
        await ctx.sleep(f"nap {index}", 0.01)


@workflow(concurrency=_CONCURRENCY)
async def listening(ctx: Context) -> str:
    """Waits for one event."""
    return await ctx.wait_for_event("wait", "go", str)


@workflow(concurrency=_CONCURRENCY)
async def resuming(ctx: Context) -> float:
    """Returns the moment when it continued after its event, by the machine's clock."""
    await ctx.wait_for_event("wait", "go", str)
    return _moment()


def _moment() -> float:
    return time.time()


@workflow(concurrency=_CONCURRENCY)
async def napping(ctx: Context, seconds: float) -> float:
    """Returns how late it woke, in seconds by the database's clock."""
    before = await ctx.now("before")
    await ctx.sleep("nap", seconds)
    return (await ctx.now("after") - before).total_seconds() - seconds


@workflow(concurrency=_CONCURRENCY)
async def scheduled(ctx: Context) -> None:
    """Does nothing."""


@workflow(concurrency=_CONCURRENCY)
async def holding(ctx: Context, seconds: float) -> None:
    """Executes one step that takes that many seconds."""
    await ctx.execute("hold", asyncio.sleep, seconds)


WORKFLOWS: list[Workflow[Any, Any]] = [
    steps,
    transactions,
    branches,
    naps,
    listening,
    resuming,
    napping,
    scheduled,
    holding,
]
