"""asyncio's timers in a workflow: they survive the worker, cost nothing while they are young, and follow the clock of
the database."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import psycopg

from durable import AsyncClient, Call, Context, RetryPolicy, RunFailed, RunRetryPolicy, Worker, workflow
from tests.watching import reached, rows, until


async def work(what: str) -> str:
    return what


async def slow() -> str:
    await asyncio.sleep(600)
    return "slow"


@workflow
async def sleeps(ctx: Context) -> str:
    await asyncio.sleep(1.5)
    return "slept"


@workflow
async def limited(ctx: Context) -> str:
    try:
        async with asyncio.timeout(0.3):
            return await ctx.execute("slow", slow)
    except TimeoutError:
        return await ctx.execute("after", work, "too late")


@workflow
async def limits(ctx: Context) -> list[str]:
    found: list[str] = []
    try:
        await asyncio.wait_for(ctx.execute("a", slow), 0.2)
    except TimeoutError:
        found.append("wait_for")
    _, pending = await asyncio.wait([asyncio.create_task(ctx.execute("b", slow))], timeout=0.2)
    found += ["wait" for task in pending if task.cancel()]
    with anyio.move_on_after(0.2) as scope:
        await ctx.execute("c", slow)
    found += ["move_on_after"] if scope.cancelled_caught else []
    await anyio.sleep(0.1)
    return found


@workflow
async def many_limits(ctx: Context) -> int:
    for index in range(100):
        await asyncio.wait_for(ctx.execute(f"step {index}", work, "done"), 60)
    return 100


@workflow
async def two_overdue(ctx: Context) -> str:
    try:
        await asyncio.wait_for(asyncio.sleep(0.5), 1.0)
    except TimeoutError:
        return "the timeout won"
    return "the sleep won"


@workflow
async def told_the_time(ctx: Context) -> list[float]:
    loop = asyncio.get_running_loop()
    times = [loop.time()]
    await ctx.execute("a", work, "a")
    times.append(loop.time())
    await ctx.wait_for_event("go", "go", str)
    times.append(loop.time())
    await asyncio.sleep(0.2)
    return [*times, loop.time()]


async def timers(database: str) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT wait_key, satisfied_at IS NOT NULL FROM durable.waits WHERE wait_type = 'timer' ORDER BY wait_key"
        )
        return await cursor.fetchall()


async def test_a_sleeping_run_is_parked_and_woken(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [sleeps]):
        handle = await client.begin(sleeps)
        await reached(client, handle.run_key, "sleeping")
        assert await handle.result(timeout=20) == "slept"
    assert await timers(database) == [("asyncio:timer:1", True)]


async def test_a_sleep_goes_on_where_the_worker_was_stopped(database: str) -> None:
    async with AsyncClient(database) as client:
        async with Worker(database, [sleeps]):
            handle = await client.begin(sleeps)
            await reached(client, handle.run_key, "sleeping")
        async with Worker(database, [sleeps]):
            assert await handle.result(timeout=20) == "slept"


async def test_a_timeout_over_a_step_cancels_it(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [limited]):
        assert await (await client.begin(limited)).result(timeout=20) == "too late"


async def test_every_way_to_set_a_limit_works(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [limits]):
        found = await (await client.begin(limits)).result(timeout=20)
    assert found == ["wait_for", "wait", "move_on_after"]


async def test_timers_that_are_cancelled_young_cost_no_row(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [many_limits]):
        assert await (await client.begin(many_limits)).result(timeout=30) == 100
    assert await timers(database) == []


async def test_overdue_timers_fire_in_the_order_of_their_times(database: str) -> None:
    async with AsyncClient(database) as client:
        async with Worker(database, [two_overdue]):
            handles = [await client.begin(two_overdue) for _ in range(5)]
            for handle in handles:
                await reached(client, handle.run_key, "sleeping")
        await asyncio.sleep(1.2)  # nothing is running: both become overdue
        async with Worker(database, [two_overdue]):
            assert {await handle.result(timeout=20) for handle in handles} == {"the sleep won"}


async def test_the_time_is_the_same_after_a_replay(database: str) -> None:
    """What the first worker saw is in the database; what the second one returns, it has seen in a replay."""
    async with AsyncClient(database) as client:
        async with Worker(database, [told_the_time]):
            handle = await client.begin(told_the_time)
            await reached(client, handle.run_key, "waiting_event")
        async with Worker(database, [told_the_time]):
            await handle.publish_event("go", "on")
            times = await handle.result(timeout=20)
        assert times == sorted(times)
        assert times[3] - times[2] >= 0.2
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            cursor = await connection.execute(
                "SELECT extract(epoch FROM started_at)::float8,"
                " (SELECT extract(epoch FROM completed_at)::float8 FROM durable.steps WHERE step_key = 'a')"
                " FROM durable.runs"
            )
            assert await cursor.fetchone() == (times[0], times[1])


attempts: list[float] = []


@workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0.1))
async def fails_by_its_timeout_once(ctx: Context) -> str:
    await ctx.execute("kept", work, "kept")
    attempts.append(asyncio.get_running_loop().time())
    if len(attempts) == 1:
        async with asyncio.timeout(0.2):
            await ctx.execute("slow", slow)
    async with asyncio.timeout_at(attempts[-1] + 30):
        return await ctx.execute(Call("quick", retry=RetryPolicy(max_retries=0)), work, "in time")


async def test_a_retry_of_the_run_arms_its_timers_again_and_its_clock_begins_again(database: str) -> None:
    attempts.clear()
    async with AsyncClient(database) as client, Worker(database, [fails_by_its_timeout_once]):
        assert await (await client.begin(fails_by_its_timeout_once)).result(timeout=20) == "in time"
    assert attempts[1] > attempts[0] + 0.2
    assert all(is_satisfied for _, is_satisfied in await timers(database))


@workflow
async def fails_by_a_timeout(ctx: Context) -> str:
    async with asyncio.timeout(0.2):
        return await ctx.wait_for_event("approval", "approve", str)


async def test_a_run_that_failed_by_a_timer_can_be_retried(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [fails_by_a_timeout]):
        handle = await client.begin(fails_by_a_timeout)
        try:
            await handle.result(timeout=20)
        except RunFailed as failed:
            assert failed.error.type == "TimeoutError"
        await handle.retry()
        await handle.publish_event("approve", "yes")
        assert await handle.result(timeout=20) == "yes"


async def test_a_timer_that_gets_the_number_of_one_that_changed_code_no_longer_arms_is_a_timer_of_its_own(
    database: str,
) -> None:
    """In the flush that gives up the old one, the new one opens."""

    async def soon_after_news(ctx: Context) -> str:
        await ctx.wait_for_event("news", "news")
        await asyncio.sleep(0.6)
        return "in time"

    @workflow(name="naps")
    async def old(ctx: Context) -> Any:
        async def long() -> None:
            await asyncio.wait_for(asyncio.sleep(0), 60)
            await asyncio.sleep(600)

        return await first_of(long(), soon_after_news(ctx))

    @workflow(name="naps")
    async def new(ctx: Context) -> Any:
        return await first_of(asyncio.sleep(600), soon_after_news(ctx))

    async with AsyncClient(database) as client:
        async with Worker(database, [old]):
            handle = await client.begin(old)
            await reached(client, handle.run_key, "waiting_event")
        await handle.publish_event("news")
        async with Worker(database, [new]):
            began = asyncio.get_running_loop().time()
            assert await handle.result(timeout=20) == ["in time"]
            assert asyncio.get_running_loop().time() - began > 0.5


_PARKED_AGAIN = "SELECT 1 FROM durable.runs WHERE epoch > 1 AND status = 'waiting_event'"


async def test_an_open_timer_that_changed_code_cancels_as_soon_as_it_is_armed_wakes_the_run_no_more(
    database: str,
) -> None:
    @workflow(name="naps")
    async def old(ctx: Context) -> Any:
        return await first_of(asyncio.sleep(600), ctx.wait_for_event("news", "news", str))

    @workflow(name="naps")
    async def new(ctx: Context) -> Any:
        await asyncio.wait_for(asyncio.sleep(0), 60)
        return await ctx.wait_for_event("news", "news", str)

    async with AsyncClient(database) as client:
        async with Worker(database, [old]):
            handle = await client.begin(old)
            await reached(client, handle.run_key, "waiting_event")
        await rows(database, "UPDATE durable.waits SET wake_at = now() WHERE wait_type = 'timer'")
        await rows(database, "UPDATE durable.runs SET next_wake_at = now()")
        async with Worker(database, [new]):
            await until(lambda: rows(database, _PARKED_AGAIN))
            assert await timers(database) == []
            await handle.publish_event("news", "good")
            assert await handle.result(timeout=20) == "good"


async def first_of(*awaitables: Any) -> list[Any]:
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return [task.result() for task in tasks if task in done]
