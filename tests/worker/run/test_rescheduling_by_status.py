"""Changing the time of runs that are paused, set aside, queued or locked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, AsyncHandle, Call, Context, RetryPolicy, Worker, exponential, workflow
from tests.watching import rows, until
from tests.worker.run.notes import until_status

HOUR = timedelta(hours=1)
SLOW = RetryPolicy(backoff=exponential(3600, 3600))
NOTHING = "has no time that could be changed"


@workflow
async def quick(ctx: Context) -> str:
    return "done"


@workflow
async def sleeping(ctx: Context) -> str:
    await ctx.sleep("night", HOUR)
    return "woke"


def stumbling() -> Callable[[], Awaitable[str]]:
    calls: list[int] = []

    async def stumble() -> str:
        calls.append(len(calls))
        if len(calls) == 1:
            raise ValueError("not yet")
        return "done"

    return stumble


async def hours_left(handle: AsyncHandle[Any]) -> float:
    wake = (await handle.info()).next_wake_at
    assert wake is not None
    return (wake - datetime.now(UTC)) / HOUR


async def until_routed(database: str) -> None:
    async def is_routed() -> bool:
        return await rows(database, "SELECT count(*) FROM durable.events WHERE routed_at IS NULL") == [(0,)]

    await until(is_routed)


async def test_the_next_try_of_a_step_is_moved_while_its_run_is_paused(database: str) -> None:
    stumble = stumbling()

    @workflow
    async def tried(ctx: Context) -> str:
        return await ctx.execute(Call("s", retry=SLOW), stumble)

    async with AsyncClient(database) as client, Worker(database, [tried]):
        handle = await client.begin(tried)
        await until_status(handle, "sleeping")
        await handle.pause()
        await until_status(handle, "paused")
        await client.run_now(handle.run_key)
        await until_routed(database)
        await handle.resume()
        assert await handle.result(timeout=10) == "done"


async def test_the_sleep_of_a_paused_run_keeps_its_time_unless_sleeps_are_meant(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncClient(database) as client, Worker(database, [sleeping]):
        handle = await client.begin(sleeping)
        await until_status(handle, "sleeping")
        await handle.pause()
        await until_status(handle, "paused")
        await handle.reschedule(delay=5 * HOUR)
        await until(lambda: NOTHING in caplog.text)
        assert await hours_left(handle) < 1.1
        await handle.reschedule(delay=5 * HOUR, sleeps=True)
        await until_routed(database)
        assert await hours_left(handle) > 4.5
        await client.run_now(handle.run_key, sleeps=True)
        await handle.resume()
        assert await handle.result(timeout=10) == "woke"


async def test_a_run_that_was_paused_in_the_queue_can_be_put_off(database: str) -> None:
    async with AsyncClient(database) as client:
        handle = await client.begin(quick)
        await handle.pause()
        async with Worker(database, [quick]):
            await until_status(handle, "paused")
            await handle.reschedule(delay=HOUR)
            await until_routed(database)
            await handle.resume()
            await until_status(handle, "sleeping")
            assert await hours_left(handle) > 0.9
            await client.run_now(handle.run_key)
            assert await handle.result(timeout=10) == "done"


async def test_a_run_that_is_set_aside_goes_on_then_although_it_slept_before(database: str) -> None:
    async def one() -> int:
        return 1

    @workflow(name="changing")
    async def before(ctx: Context) -> str:
        await ctx.execute("one", one)
        await ctx.sleep("night", HOUR)
        return "woke"

    @workflow(name="changing")
    async def after(ctx: Context) -> str:
        await ctx.execute("other", one)
        return "never"

    async with AsyncClient(database) as client:
        handle = await client.begin(before)
        async with Worker(database, [before]):
            await until_status(handle, "sleeping")
        await rows(database, "UPDATE durable.runs SET next_wake_at = now()")
        async with Worker(database, [after]):

            async def is_set_aside() -> bool:
                return (await handle.info()).status_reason == "set_aside"

            await until(is_set_aside)
            await handle.reschedule(delay=5 * HOUR)
            await until_routed(database)
            assert await hours_left(handle) > 4.5
        async with Worker(database, [before]):
            await client.run_now(handle.run_key, sleeps=True)
            assert await handle.result(timeout=10) == "woke"


async def test_a_try_stays_put_off_when_something_else_wakes_its_run(database: str) -> None:
    stumble = stumbling()

    @workflow
    async def two_waits(ctx: Context) -> str:
        async def listen() -> None:
            await ctx.wait_for_event("first", "go", str)
            await ctx.wait_for_event("second", "go", str)

        return (await asyncio.gather(ctx.execute(Call("s", retry=SLOW), stumble), listen()))[0]

    async with AsyncClient(database) as client, Worker(database, [two_waits]):
        handle = await client.begin(two_waits)
        await until_status(handle, "sleeping", "waiting_event")
        await handle.reschedule(delay=5 * HOUR)
        await until_routed(database)
        await handle.publish_event("go", "x")

        async def has_heard() -> bool:
            heard = "SELECT count(*) FROM durable.waits WHERE wait_key = 'first' AND satisfied_at IS NOT NULL"
            return await rows(database, heard) == [(1,)]

        await until(has_heard)
        await until_status(handle, "waiting_event")
        assert 4.5 < await hours_left(handle) < 5.5
        await client.run_now(handle.run_key)
        await until_routed(database)
        await handle.publish_event("go", "y")
        assert await handle.result(timeout=10) == "done"


async def test_a_queued_run_that_is_to_go_on_now_is_no_reason_for_a_warning(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "durable.worker")
    async with AsyncClient(database) as client:
        await client.pause_workflow(quick)
        handle = await client.begin(quick)
        async with Worker(database, [quick]):
            await client.run_now(handle.run_key)
            await until_routed(database)
            assert NOTHING not in caplog.text
            await client.resume_workflow(quick)
            assert await handle.result(timeout=10) == "done"


async def test_a_run_that_was_locked_is_looked_at_again_soon(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [quick], poll_interval=3600):
        handle = await client.begin(quick, delay=HOUR)
        with psycopg.connect(database) as locker:
            locker.execute("SELECT FROM durable.runs FOR UPDATE")
            await client.run_now(handle.run_key)
            other = await client.begin(quick)
            assert await other.result(timeout=10) == "done"
        assert await handle.result(timeout=10) == "done"
