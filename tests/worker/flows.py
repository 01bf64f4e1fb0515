"""Workflows that count what they call, and workers driven by hand, one run at a time (`P1`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from durable import AsyncClient, Call, Context, RetryPolicy, Worker, Workflow, workflow
from tests.watching import until


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
        return await ctx.execute(
            Call("flaky_step", retry=RetryPolicy(max_retries=5, backoff=0.01)), flaky_step, failures
        )

    return retry


@asynccontextmanager
async def running(dsn: str, *workflows: Workflow[Any, Any], **options: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(dsn) as client, Worker(dsn, workflows, **options):
        yield client
