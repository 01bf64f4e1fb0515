"""What was published before a wait gives up is received, however busy the worker is."""

from __future__ import annotations

import asyncio

import psycopg

from durable import AsyncClient, Context, EventTimeout, Worker, workflow
from tests.watching import reached, rows, until
from tests.worker.flows import running

_TIMEOUT = 0.1
_STUCK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
      AND clock_timestamp() - state_change > %s * interval '1 second'
"""


async def test_an_event_from_before_the_wait_is_received_though_the_flush_outlasts_the_timeout(database: str) -> None:
    started, is_published = asyncio.Event(), asyncio.Event()

    async def announce() -> None:
        started.set()
        await is_published.wait()

    async def linger() -> None:
        pass

    @workflow
    async def waiting(ctx: Context) -> str:
        await ctx.execute("announce", announce)
        beside = asyncio.ensure_future(ctx.execute("linger", linger))
        try:
            heard = await ctx.wait_for_event("wait", "news", str, timeout=_TIMEOUT)
        except EventTimeout:
            heard = "nothing"
        await beside
        return heard

    async def is_stuck() -> bool:
        return await rows(database, _STUCK, 3 * _TIMEOUT) == [(1,)]

    async with AsyncClient(database) as client, Worker(database, [waiting], notify=False, poll_interval=20):
        handle = await client.begin(waiting)
        await started.wait()
        await handle.publish_event("news", "published")
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await connection.execute("SELECT FROM durable.runs FOR UPDATE")
            is_published.set()
            await until(is_stuck)
        assert await handle.result(timeout=10) == "published"


async def test_an_event_that_nobody_has_announced_is_received_when_the_timeout_comes(database: str) -> None:
    is_waiting, is_over = asyncio.Event(), asyncio.Event()

    async def linger() -> None:
        is_waiting.set()
        await is_over.wait()

    @workflow
    async def waiting(ctx: Context) -> str:
        beside = asyncio.ensure_future(ctx.execute("linger", linger))
        try:
            heard = await ctx.wait_for_event("wait", "news", str, timeout=1)
        except EventTimeout:
            heard = "nothing"
        is_over.set()
        await beside
        return heard

    async with AsyncClient(database) as client, Worker(database, [waiting], notify=False, poll_interval=20):
        handle = await client.begin(waiting)
        await is_waiting.wait()
        await handle.publish_event("news", "published")
        assert await handle.result(timeout=10) == "published"


async def test_a_timeout_that_came_first_stays_first(database: str) -> None:
    outcomes: list[str] = []

    @workflow
    async def waiting(ctx: Context) -> str:
        try:
            await ctx.wait_for_event("wait", "news", timeout=0.05)
        except EventTimeout:
            outcomes.append("timeout")
        return await ctx.wait_for_event("again", "news", str)

    async with running(database, waiting) as client:
        handle = await client.begin(waiting)
        async with asyncio.timeout(10):
            while not outcomes:
                await asyncio.sleep(0.01)
        await reached(client, handle.run_key, "waiting_event")
    async with running(database, waiting) as client:
        handle = client.handle(handle.run_key, waiting)
        await client.publish_event(handle.run_key, "news", "late")
        assert await handle.result(timeout=10) == "late"
    assert outcomes == ["timeout", "timeout"]


async def test_a_wait_that_lost_a_race_wakes_nobody(database: str) -> None:
    @workflow
    async def racing(ctx: Context) -> str:
        news = asyncio.ensure_future(ctx.wait_for_event("news", "news", str))
        nap = asyncio.ensure_future(ctx.sleep("nap", 0.05))
        done, pending = await asyncio.wait({news, nap}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return "nap" if nap in done else "news"

    async with running(database, racing) as client:
        assert await (await client.begin(racing)).result(timeout=10) == "nap"
    assert await rows(database, "SELECT wait_key FROM durable.waits") == [("nap",)]
