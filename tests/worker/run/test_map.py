"""``ctx.map`` on workers: how many run at once, retries of the run, crashes, many items."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from durable import AsyncClient, Call, Context, RetryPolicy, RunCancelled, RunFailed, RunRetryPolicy, Worker, workflow
from tests.watching import rows
from tests.worker.run.notes import Notes

NEVER_AGAIN = RetryPolicy(max_retries=0)


async def test_so_many_run_at_once_as_may_and_the_results_are_in_order(database: str) -> None:
    running = most = 0

    async def square(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01 * (number % 3))
        running -= 1
        return number * number

    @workflow
    async def squares(ctx: Context, count: int) -> list[int]:
        return await ctx.map("square", square, range(count), max_concurrency=4)

    async with AsyncClient(database) as client, Worker(database, [squares]):
        assert await (await client.begin(squares, 30)).result(timeout=30) == [number**2 for number in range(30)]
    assert most == 4
    assert await rows(database, "SELECT count(*) FROM durable.steps") == [(30,)]


async def test_a_retry_of_the_run_calls_those_that_failed_or_were_not_called(database: str) -> None:
    calls = Counter[int]()

    async def visit(number: int) -> int:
        calls[number] += 1
        if number == 3 and calls[3] == 1:
            raise ValueError("not yet")
        return number

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
    async def visits(ctx: Context) -> list[int]:
        return await ctx.map(Call("visit", retry=NEVER_AGAIN), visit, range(10), max_concurrency=1)

    async with AsyncClient(database) as client, Worker(database, [visits]):
        assert await (await client.begin(visits)).result(timeout=30) == list(range(10))
    assert calls == {**dict.fromkeys(range(10), 1), 3: 2}


async def test_what_failed_is_said_and_told_apart(database: str) -> None:
    async def visit(number: int) -> int:
        if number % 2:
            raise ValueError(f"no {number}")
        return number

    @workflow
    async def visits(ctx: Context, most: int) -> list[list[int]]:
        result = await ctx.map(Call("visit", retry=NEVER_AGAIN), visit, range(4), max_failures=most)
        return [result.values, list(result.failures)]

    async with AsyncClient(database) as client, Worker(database, [visits]):
        assert await (await client.begin(visits, 2)).result(timeout=30) == [[0, 2], [1, 3]]
        with pytest.raises(RunFailed, match="2 of 4 items failed, at most 1 may"):
            await (await client.begin(visits, 1)).result(timeout=30)


async def test_a_cancelled_run_gives_up_what_runs(database: str) -> None:
    notes = Notes()

    async def hang(number: int) -> None:
        try:
            await notes.note(f"begins {number}")
            await asyncio.sleep(3600)
        finally:
            await notes.note(f"ends {number}")

    @workflow
    async def hangs(ctx: Context) -> None:
        await ctx.map("hang", hang, range(5), max_concurrency=2)

    async with AsyncClient(database) as client, Worker(database, [hangs]):
        run = await client.begin(hangs)
        await notes.until("begins 1")
        await run.cancel()
        with pytest.raises(RunCancelled):
            await run.result(timeout=20)
    assert sorted(notes) == ["begins 0", "begins 1", "ends 0", "ends 1"]


async def test_another_worker_calls_only_what_is_left(database: str) -> None:
    calls, go_on = Counter[int](), asyncio.Event()

    async def visit(number: int) -> int:
        calls[number] += 1
        if number == 5:
            await go_on.wait()
        return number

    @workflow
    async def visits(ctx: Context) -> list[int]:
        return await ctx.map("visit", visit, range(8), max_concurrency=2)

    async with AsyncClient(database) as client:
        async with Worker(database, [visits], graceful_shutdown_timeout=0.1):
            run = await client.begin(visits)
            while not calls[7]:
                await asyncio.sleep(0.01)
        go_on.set()
        async with Worker(database, [visits]):
            assert await run.result(timeout=20) == list(range(8))
    assert [calls[number] for number in range(5)] == [1] * 5
    assert calls[5] == 2


async def test_a_thousand_items_in_a_window(database: str) -> None:
    async def double(number: int) -> int:
        return 2 * number

    @workflow
    async def doubles(ctx: Context) -> int:
        return sum(await ctx.map("double", double, range(1000), max_concurrency=100))

    async with AsyncClient(database) as client, Worker(database, [doubles]):
        assert await (await client.begin(doubles)).result(timeout=60) == 999_000
