"""Runs that sleep, and when they go on."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg

from durable import AsyncClient, Context, Worker, workflow
from tests.watching import reached, rows
from tests.worker.flows import napping, process_until_there_is_one, running


async def test_03_sleep_and_wake(database: str) -> None:
    calls: Counter[str] = Counter()
    sleep = napping(calls, 0.5)
    worker = Worker(database, [sleep])
    async with AsyncClient(database) as client:
        handle = await client.begin(sleep)
        assert await worker.process_one()
        assert (await handle.info()).status == "sleeping"
        assert calls == {"before": 1}

        assert not await worker.process_one()

        await process_until_there_is_one(worker)
        assert (await handle.info()).status == "completed"
    assert calls == {"before": 1, "after": 1}


async def test_14_each_sleep_parks_the_run_once(database: str) -> None:
    @workflow
    async def twice(ctx: Context) -> None:
        await ctx.sleep("first", 0.05)
        await ctx.sleep("second", 0.05)

    worker = Worker(database, [twice])
    async with AsyncClient(database) as client:
        handle = await client.begin(twice)
        seen: list[str] = []
        for _ in range(3):
            await process_until_there_is_one(worker)
            seen.append((await handle.info()).status)
    assert seen == ["sleeping", "sleeping", "completed"]


async def test_17_a_loop_of_steps_and_sleeps_comes_to_its_end(database: str) -> None:
    executed: list[int] = []

    async def execute(index: int) -> None:
        executed.append(index)

    @workflow
    async def scheduled(ctx: Context) -> None:
        for index in range(3):
            await ctx.execute(f"task {index}", execute, index)
            if index < 2:
                await ctx.sleep(f"pause {index}", 0.03)

    worker = Worker(database, [scheduled])
    async with AsyncClient(database) as client:
        handle = await client.begin(scheduled)
        for _ in range(3):
            await process_until_there_is_one(worker)
        assert (await handle.info()).status == "completed"
    assert executed == [0, 1, 2]


async def test_a_due_sleep_is_found_on_time_and_not_at_the_next_poll(database: str) -> None:
    @workflow
    async def napping(ctx: Context) -> float:
        before = await ctx.now("before")
        await ctx.sleep("nap", 0.3)
        return ((await ctx.now("after")) - before).total_seconds()

    async with running(database, napping, poll_interval=20, max_poll_interval=20) as client:
        slept = await (await client.begin(napping)).result(timeout=10)
    assert 0.3 <= slept < 5


async def test_a_sleep_goes_on_where_it_was_after_a_restart(database: str) -> None:
    @workflow
    async def napping(ctx: Context) -> None:
        await ctx.sleep("nap", 3600)

    async with running(database, napping) as client:
        handle = await client.begin(napping)
        await reached(client, handle.run_key, "sleeping")
    before = await rows(database, "SELECT wake_at FROM durable.waits")
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("UPDATE durable.runs SET next_wake_at = now()")
    async with running(database, napping):
        async with asyncio.timeout(20):
            while await rows(database, "SELECT epoch, status FROM durable.runs") != [(2, "sleeping")]:
                await asyncio.sleep(0.01)
    assert await rows(database, "SELECT wake_at FROM durable.waits") == before
    assert await rows(database, "SELECT next_wake_at FROM durable.runs") == before


async def test_parked_runs_leave_their_wait_and_free_their_place(database: str) -> None:
    @workflow(concurrency=1)
    async def parking(ctx: Context, how: str) -> str:
        if how == "waits":
            return await ctx.wait_for_event("parked", "news", str)
        if how == "sleeps":
            await ctx.sleep("parked", 3600)
        return "went through"

    async with AsyncClient(database) as client, Worker(database, [parking]):
        handles = [await client.begin(parking, how) for how in ("waits", "sleeps", "goes")]
        assert await handles[-1].result(timeout=10) == "went through"
        waiting, sleeping = [await handle.info() for handle in handles[:2]]
    assert (waiting.status, waiting.next_wake_at, sleeping.status) == ("waiting_event", None, "sleeping")
    assert await rows(
        database, "SELECT wait_type, wait_key, event_name, satisfied_at FROM durable.waits ORDER BY wait_type"
    ) == [("event", "parked", "news", None), ("sleep", "parked", None, None)]


async def test_a_sleep_is_set_and_judged_by_the_clock_of_the_database(database: str) -> None:
    calls: Counter[str] = Counter()
    sleep = napping(calls, 3600)
    worker = Worker(database, [sleep])
    async with AsyncClient(database) as client:
        handle = await client.begin(sleep)
        assert await worker.process_one()
        slept = "SELECT extract(epoch FROM wait.wake_at - wait.created_at)::float8, wait.wake_at = run.next_wake_at"
        assert await rows(database, f"{slept} FROM durable.waits AS wait, durable.runs AS run") == [(3600.0, True)]
        assert not await worker.process_one()

        # An hour passes, for the database alone.
        await rows(database, "UPDATE durable.waits SET wake_at = wake_at - interval '1 h'")
        await rows(database, "UPDATE durable.runs SET next_wake_at = next_wake_at - interval '1 h'")
        await process_until_there_is_one(worker)
        assert (await handle.info()).status == "completed"
    assert calls == {"before": 1, "after": 1}
    assert await rows(database, "SELECT satisfied_at >= wake_at FROM durable.waits") == [(True,)]
