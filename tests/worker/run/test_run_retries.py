"""The ancestor's scenarios 47 to 52: a run that failed is tried anew; what it had finished is kept."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Context, RetryPolicy, RunRetryPolicy, Terminal, Worker, Workflow, exponential, workflow
from tests.worker.flows import process_all


class Unlucky(RuntimeError):
    """What the body of the fixture raises."""


def failing(calls: Counter[str], failures: int, *, max_attempts: int, backoff: float = 0) -> Workflow[None, str]:
    """A first step that always succeeds, then a body that fails its first executions."""

    async def first() -> str:
        calls["step1"] += 1
        return "first"

    @workflow(retry=RunRetryPolicy(max_attempts=max_attempts, backoff=backoff))
    async def stubborn(ctx: Context) -> str:
        value = await ctx.execute("step1", first)
        calls["body"] += 1
        if calls["body"] <= failures:
            raise Unlucky(f"unlucky for the {calls['body']}. time")
        return value

    return stubborn


async def test_47_a_run_succeeds_after_retries_that_keep_its_steps(database: str) -> None:
    calls: Counter[str] = Counter()
    stubborn = failing(calls, 2, max_attempts=5)
    worker = Worker(database, [stubborn])
    async with AsyncClient(database) as client:
        handle = await client.begin(stubborn)
        assert await worker.process_one()
        status = await handle.status()
        assert status.error is not None
        assert (status.status, status.error.message) == ("queued", "unlucky for the 1. time")
        assert await worker.process_one()
        assert await worker.process_one()

        status = await handle.status()
        assert (status.status, status.attempts, status.error, status.next_wake_at) == ("completed", 2, None, None)
        assert await handle.result(timeout=0) == "first"
    assert calls == {"step1": 1, "body": 3}


async def test_48_a_run_fails_after_its_last_attempt(database: str) -> None:
    calls: Counter[str] = Counter()
    stubborn = failing(calls, 100, max_attempts=2)
    worker = Worker(database, [stubborn])
    async with AsyncClient(database) as client:
        handle = await client.begin(stubborn)
        assert await process_all(worker) == 2

        status = await handle.status()
        assert status.error is not None
        assert (status.status, status.attempts, status.error.type) == ("failed", 2, "Unlucky")
        assert not await worker.process_one()
    assert calls == {"step1": 1, "body": 2}


async def raise_plainly() -> None:
    raise Terminal("no use")


async def raise_wrapped() -> None:
    try:
        raise Terminal("no use")
    except Terminal as error:
        raise RuntimeError("wrapped") from error


@pytest.mark.parametrize("hopeless", [raise_plainly, raise_wrapped], ids=["plain", "wrapped"])
@pytest.mark.parametrize("where", ["workflow", "step"])
async def test_49_a_terminal_error_skips_every_retry(database: str, hopeless: Any, where: str) -> None:
    calls: Counter[str] = Counter()

    async def step() -> None:
        calls["step"] += 1
        await hopeless()

    @workflow(retry=RunRetryPolicy(max_attempts=5, backoff=0))
    async def giving_up(ctx: Context) -> None:
        calls["body"] += 1
        if where == "workflow":
            await hopeless()
        await ctx.execute("step", step, retry=RetryPolicy(max_retries=5, backoff=0))

    worker = Worker(database, [giving_up])
    async with AsyncClient(database) as client:
        handle = await client.begin(giving_up)
        assert await process_all(worker) == 1
        status = await handle.status()
        assert (status.status, status.attempts) == ("failed", 1)
    assert calls == ({"body": 1, "step": 1} if where == "step" else {"body": 1})


async def test_50_the_backoff_delays_the_next_attempt(database: str) -> None:
    stubborn = failing(Counter(), 100, max_attempts=3, backoff=30)
    worker = Worker(database, [stubborn])
    async with AsyncClient(database) as client:
        handle = await client.begin(stubborn)
        assert await worker.process_one()
        status = await handle.status()
        assert (status.status, status.attempts) == ("sleeping", 1)
        assert status.next_wake_at is not None
        assert timedelta(seconds=15) < status.next_wake_at - datetime.now(UTC) < timedelta(seconds=45)
        assert not await worker.process_one()


async def test_51_a_failing_statement_of_one_attempt_harms_neither_its_memos_nor_the_next(database: str) -> None:
    calls: Counter[str] = Counter()

    async def first() -> str:
        calls["step1"] += 1
        return "first"

    async def statement(tx: psycopg.AsyncConnection[Any]) -> str:
        calls["statement"] += 1
        await tx.execute("SELECT 1 / 0" if calls["statement"] == 1 else "SELECT 1")
        return "second"

    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def stubborn(ctx: Context) -> list[str]:
        calls["body"] += 1
        return [
            await ctx.execute("step1", first),
            await ctx.transaction("statement", statement, retry=RetryPolicy(max_retries=0)),
        ]

    worker = Worker(database, [stubborn])
    async with AsyncClient(database) as client:
        handle = await client.begin(stubborn)
        assert await process_all(worker) == 2
        assert await handle.result(timeout=0) == ["first", "second"]
        assert (await handle.status()).attempts == 1
    assert calls == {"step1": 1, "body": 2, "statement": 2}


def test_52_exponential_delays_double_up_to_the_maximum() -> None:
    backoff = exponential(timedelta(milliseconds=100), 1)
    assert [backoff.delay(failures) for failures in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
