"""The ancestor's workflows, which count what they call, and how its scenarios drive workers: one run by hand (`P1`)."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg

from durable import AsyncClient, Context, RetryPolicy, Worker, Workflow, workflow

SECONDS = 20.0
"""How long anything may take that the scenarios wait for."""


async def rows(dsn: str, query: Any, *params: Any) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(query, params)
        return await cursor.fetchall() if cursor.description else []


async def until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """The first true answer, awaited where it is to be; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within {seconds} s: {condition}")


async def status_of(client: AsyncClient, run_key: Any) -> str:
    return (await client.get_run_status(run_key)).status


async def reached(client: AsyncClient, run_key: Any, status: str, seconds: float = SECONDS) -> None:
    async def is_there() -> bool:
        return await status_of(client, run_key) == status

    await until(is_there, seconds)


async def process_until_there_is_one(worker: Worker) -> None:
    """P1 again and again, until it has found a run."""
    await until(worker.process_one)


async def process_all(worker: Worker) -> int:
    """P1 until there is nothing left; how many runs it were."""
    processed = 0
    while await worker.process_one():
        processed += 1
    return processed


def greeting(calls: Counter[str]) -> Workflow[str, str]:
    async def greet(name: str) -> str:
        calls["greet"] += 1
        return f"Hello, {name}!"

    @workflow
    async def simple(ctx: Context, name: str) -> str:
        return await ctx.execute("greet", greet, name)

    return simple


def arithmetic(calls: Counter[str]) -> Workflow[int, int]:
    async def add10(number: int) -> int:
        calls["add10"] += 1
        return number + 10

    async def multiply2(number: int) -> int:
        calls["multiply2"] += 1
        return number * 2

    async def subtract5(number: int) -> int:
        calls["subtract5"] += 1
        return number - 5

    @workflow
    async def multi(ctx: Context, number: int) -> int:
        number = await ctx.execute("step1_add10", add10, number)
        number = await ctx.execute("step2_multiply2", multiply2, number)
        return await ctx.execute("step3_subtract5", subtract5, number)

    return multi


def napping(calls: Counter[str], seconds: float) -> Workflow[None, None]:
    async def note(what: str) -> None:
        calls[what] += 1

    @workflow
    async def sleep(ctx: Context) -> None:
        await ctx.execute("before", note, "before")
        await ctx.sleep("nap", seconds)
        await ctx.execute("after", note, "after")

    return sleep


def awaiting(calls: Counter[str]) -> Workflow[str, str]:
    """Its input is the name of the event."""

    async def note(what: str) -> None:
        calls[what] += 1

    @workflow
    async def event(ctx: Context, name: str) -> str:
        await ctx.execute("before", note, "before")
        payload = await ctx.wait_for_event("wait_for_approval", name, str)
        await ctx.execute("after", note, "after")
        return payload

    return event


def flaky(calls: Counter[str]) -> Workflow[int, int]:
    """Its input is how many calls fail."""

    async def flaky_step(failures: int) -> int:
        calls["flaky_step"] += 1
        if calls["flaky_step"] <= failures:
            raise ConnectionError("persistent error")
        return calls["flaky_step"]

    @workflow
    async def retry(ctx: Context, failures: int) -> int:
        return await ctx.execute("flaky_step", flaky_step, failures, retry=RetryPolicy(max_retries=5, backoff=0.01))

    return retry
