"""Behaviours of the ancestor that its tests leave out: R (run retries), E, L and A (events, sleeps, client)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from durable import (
    AsyncClient,
    AsyncHandle,
    Context,
    RunNotCancellable,
    RunNotCompleted,
    RunRetryPolicy,
    RunTerminal,
    Worker,
    exponential,
    workflow,
)
from tests.watching import rows
from tests.worker.flows import awaiting, greeting, napping, process_all, process_until_there_is_one


class Panic(BaseException):
    """Not an ``Exception``: what catches only those lets it through."""


@pytest.mark.parametrize("error", [Panic("panic"), SystemExit("panic")], ids=lambda error: type(error).__name__)
async def test_a_panic_of_the_workflow_is_tried_anew_like_any_error(database: str, error: BaseException) -> None:
    calls: Counter[str] = Counter()

    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def panicking(ctx: Context) -> int:
        calls["body"] += 1
        if calls["body"] < 3:
            raise error
        return ctx.attempt

    async with AsyncClient(database) as client:
        handle = await client.begin(panicking)
        assert await process_all(Worker(database, [panicking])) == 3
        assert await handle.result(timeout=0) == 3
        assert (await handle.status()).attempts == 2


async def test_an_input_that_cannot_be_read_is_an_error_of_its_run_and_tried_anew(database: str) -> None:
    calls: Counter[str] = Counter()

    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def counting(ctx: Context, number: int) -> int:
        calls["body"] += 1
        return number

    async with AsyncClient(database) as client:
        handle = await client.begin(counting, 1)
        await rows(database, "UPDATE durable.runs SET input = '\"text\"'")
        assert await process_all(Worker(database, [counting])) == 3
        status = await handle.status()
    assert status.error is not None
    assert (status.status, status.attempts, status.error.type) == ("failed", 3, "DeserializationError")
    assert not calls


async def test_parks_are_no_attempts(database: str) -> None:
    attempts: list[int] = []

    @workflow(retry=RunRetryPolicy(max_attempts=1))
    async def parking(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        for index in range(3):
            await ctx.sleep(f"nap {index}", 0)
        return await ctx.wait_for_event("wait", "news", str)

    worker = Worker(database, [parking])
    async with AsyncClient(database) as client:
        handle = await client.begin(parking)
        for _ in range(4):
            await process_until_there_is_one(worker)
        await handle.publish("news", "heard")
        await process_all(worker)
        assert await handle.result(timeout=0) == "heard"
        assert (await handle.status()).attempts == 0
    assert set(attempts) == {1}
    assert len(attempts) >= 5


async def test_the_backoff_of_a_run_counts_from_its_failure_by_the_clock_of_the_database(database: str) -> None:
    @workflow(retry=RunRetryPolicy(max_attempts=9, backoff=exponential(600, 3600)))
    async def failing(ctx: Context) -> None:
        raise ConnectionError(f"attempt {ctx.attempt}")

    worker = Worker(database, [failing])
    told: list[Any] = []
    async with AsyncClient(database) as client:
        handle = await client.begin(failing)
        for _ in range(4):
            assert await process_all(worker) == 1
            told += await rows(
                database,
                "SELECT status, attempts, error ->> 'message', extract(epoch FROM next_wake_at - updated_at)::int"
                " FROM durable.runs",
            )
            await rows(database, "UPDATE durable.runs SET next_wake_at = now()")
        assert (await handle.status()).status == "sleeping"
    assert told == [
        ("sleeping", number, f"attempt {number}", seconds)
        for number, seconds in ((1, 600), (2, 1200), (3, 2400), (4, 3600))
    ]


def test_a_backoff_from_nothing_is_nothing() -> None:
    assert {exponential(0, 60).delay(failures) for failures in (1, 2, 50, 10_000)} == {0.0}


async def ended(client: AsyncClient, dsn: str, how: str) -> AsyncHandle[Any]:
    """A run that has come to that end."""

    @workflow
    async def failing(ctx: Context) -> None:
        raise RuntimeError("failed")

    simple = greeting(Counter())
    if how == "failed":
        handle: AsyncHandle[Any] = await client.begin(failing)
    else:
        handle = await client.begin(simple, "World")
    if how == "cancelled":
        await handle.cancel()
    await process_all(Worker(dsn, [failing, simple]))
    assert (await handle.status()).status == how
    return handle


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
async def test_a_run_that_has_ended_takes_neither_a_cancel_nor_an_event(database: str, how: str) -> None:
    async with AsyncClient(database) as client:
        handle = await ended(client, database, how)
        before = await rows(database, "SELECT * FROM durable.events")
        for request in (handle.cancel, handle.terminate):
            with pytest.raises(RunNotCancellable, match=how):
                await request()
        with pytest.raises(RunTerminal, match=how):
            await handle.publish("news")
        assert (await handle.status()).status == how
    assert await rows(database, "SELECT * FROM durable.events") == before


async def test_only_a_completed_run_has_an_output(database: str) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        started.set()
        await finish.wait()

    @workflow
    async def busy(ctx: Context) -> str:
        await ctx.execute("slow", slow)
        return "done"

    event, sleep = awaiting(Counter()), napping(Counter(), 3600)
    async with AsyncClient(database) as client:
        waiting, sleeping = await client.begin(event, "news"), await client.begin(sleep)
        await process_all(Worker(database, [event, sleep]))
        without: list[tuple[AsyncHandle[Any], str]] = [
            (await client.begin(event, "news"), "queued"),
            (waiting, "waiting_event"),
            (sleeping, "sleeping"),
            (await ended(client, database, "failed"), "failed"),
            (await ended(client, database, "cancelled"), "cancelled"),
        ]
        async with Worker(database, [busy]):
            running = await client.begin(busy)
            await started.wait()
            for handle, status in (*without, (running, "running")):
                with pytest.raises(RunNotCompleted, match=f"'{status}'"):
                    await client.get_run_output(handle.run_key)
            finish.set()
            assert await running.result(timeout=10) == "done"
            assert await client.get_run_output(running.run_key, str) == "done"
