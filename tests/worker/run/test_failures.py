"""The ancestor's scenarios 28 to 31 and 42: what raises, hangs or breaks, and whom it does not harm."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Context, RetryPolicy, RunNotCancellable, Worker, workflow
from tests.watching import reached, rows
from tests.worker.flows import greeting, process_all


class Panic(BaseException):
    """Not an ``Exception``: what catches only those lets it through."""


PANICS = [RuntimeError("panic"), ZeroDivisionError("panic"), SystemExit("panic"), Panic("panic"), MemoryError("panic")]


async def test_28_a_completed_run_cannot_be_cancelled(database: str) -> None:
    simple = greeting(Counter())
    async with AsyncClient(database) as client:
        handle = await client.begin(simple, "World")
        assert await Worker(database, [simple]).process_one()
        with pytest.raises(RunNotCancellable, match="completed"):
            await handle.cancel()
        assert await handle.result(timeout=0) == "Hello, World!"


@pytest.mark.parametrize("place", ["in the loop", "in a thread"])
@pytest.mark.parametrize("error", PANICS, ids=lambda error: type(error).__name__)
async def test_29_whatever_a_step_raises_is_retried_and_then_fails_the_run(
    database: str, error: BaseException, place: str
) -> None:
    calls: Counter[str] = Counter()

    async def panic() -> None:
        panic_in_a_thread()

    def panic_in_a_thread() -> None:
        calls["panic"] += 1
        raise error

    @workflow
    async def panicking(ctx: Context) -> None:
        step = panic_in_a_thread if place == "in a thread" else panic
        await ctx.execute("panic", step, retry=RetryPolicy(max_retries=2, backoff=0))

    async with AsyncClient(database) as client:
        handle = await client.begin(panicking)
        assert await Worker(database, [panicking]).process_one()
        status = await handle.status()
    assert status.error is not None
    assert (status.status, status.attempts, calls["panic"]) == ("failed", 1, 3)
    assert status.error.message == f"step 'panic' failed: {type(error).__name__}: panic"
    assert await rows(database, "SELECT attempts, error ->> 'type' FROM durable.steps") == [(3, type(error).__name__)]


@pytest.mark.parametrize("error", PANICS, ids=lambda error: type(error).__name__)
async def test_30_whatever_a_workflow_raises_fails_the_run_and_not_the_worker(
    database: str, error: BaseException
) -> None:
    simple = greeting(Counter())

    @workflow
    async def panicking(ctx: Context) -> None:
        raise error

    async with AsyncClient(database) as client:
        async with Worker(database, [panicking, simple]) as worker:
            handle = await client.begin(panicking)
            await reached(client, handle.run_key, "failed")
            assert await (await client.begin(simple, "World")).result(timeout=10) == "Hello, World!"
            assert worker.healthy()
        status = await handle.status()
    assert status.error is not None
    assert (status.error.type, status.error.message) == (type(error).__name__, "panic")
    assert "raise error" in (status.error.traceback or "")


async def test_30_sys_exit_in_a_workflow_is_an_error_of_its_run(database: str) -> None:
    @workflow
    async def leaving(ctx: Context) -> None:
        sys.exit(3)

    async with AsyncClient(database) as client:
        handle = await client.begin(leaving)
        assert await Worker(database, [leaving]).process_one()
        assert (await handle.status()).status == "failed"


async def test_31_a_step_that_takes_too_long_is_cut_off_and_retried(database: str) -> None:
    calls: Counter[str] = Counter()

    async def hang() -> None:
        calls["started"] += 1
        await asyncio.sleep(5)
        calls["finished"] += 1

    @workflow
    async def hanging(ctx: Context) -> None:
        await ctx.execute("hang", hang, retry=RetryPolicy(max_retries=1, backoff=0, timeout=0.05))

    async with AsyncClient(database) as client:
        handle = await client.begin(hanging)
        began = time.monotonic()
        assert await Worker(database, [hanging]).process_one()
        assert time.monotonic() - began < 4
        status = await handle.status()
    assert status.error is not None
    assert status.status == "failed"
    assert "did not finish within 0.05 s" in status.error.message
    assert calls == {"started": 2}


async def test_42_a_failing_statement_costs_one_step_and_neither_the_memos_nor_the_others(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(calls)

    async def spoil(tx: psycopg.AsyncConnection[Any]) -> None:
        await tx.execute("SELECT no_such_column FROM no_such_table")

    async def count() -> int:
        calls["counted"] += 1
        return calls["counted"]

    @workflow
    async def spoiling(ctx: Context) -> None:
        await ctx.execute("count", count)
        await ctx.transaction("spoil", spoil, retry=RetryPolicy(max_retries=0))

    worker = Worker(database, [spoiling, simple], poll_interval=0.05)
    task = asyncio.create_task(worker.run())
    async with AsyncClient(database) as client:
        spoiled = await client.begin(spoiling)
        assert await (await client.begin(simple, "World")).result(timeout=10) == "Hello, World!"
        await reached(client, spoiled.run_key, "failed")
        status = await spoiled.status()
        assert status.error is not None
        assert "no_such_table" in status.error.message

        # Whoever polls meanwhile does not claim it again.
        for _ in range(3):
            assert await (await client.begin(simple, "again")).result(timeout=10) == "Hello, again!"
        assert await rows(database, "SELECT epoch FROM durable.runs WHERE workflow_name = 'spoiling'") == [(1,)]
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait({task})
    memos = await rows(database, "SELECT step_key, status FROM durable.steps WHERE step_key <> 'greet' ORDER BY seq")
    assert memos == [("count", "completed"), ("spoil", "failed")]
    assert calls["counted"] == 1
    assert not await process_all(Worker(database, [spoiling, simple]))
