"""Runs whose code turns in circles: the other runs of their worker have their turn meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from durable import AsyncClient, Context, RunCancelled, RunFailed, Worker, workflow
from tests.watching import reached, until
from tests.worker.flows import running


class Passes:
    """How often the event loop of the worker has come round."""

    def __init__(self) -> None:
        self.count = 0

    @asynccontextmanager
    async def counted(self) -> AsyncGenerator[None]:
        counting = asyncio.create_task(self._count())
        try:
            yield
        finally:
            counting.cancel()

    async def _count(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


async def test_others_have_their_turn_while_a_run_turns_in_circles_for_nothing(database: str) -> None:
    passes = Passes()
    seen: set[int] = set()

    @workflow
    async def circling(ctx: Context) -> None:
        await ctx.execute("one", str, 1)
        while True:
            seen.add(passes.count)
            await asyncio.sleep(0)

    async with running(database, circling) as client, passes.counted():
        handle = await client.begin(circling)
        with pytest.raises(RunFailed, match="in circles"):
            await handle.result(timeout=60)
    assert len(seen) > 500


async def test_a_cancel_that_meets_a_run_in_circles_comes_after_all_of_its_turns_as_on_a_replay(database: str) -> None:
    circles: list[int] = []

    @workflow
    async def circling(ctx: Context) -> None:
        await ctx.execute("one", str, 1)
        circles.append(0)
        try:
            while True:
                circles[-1] += 1
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            await ctx.sleep("nap", 2.0)
            await ctx.execute("tidy", str, 2)
            raise

    async with AsyncClient(database) as client:
        async with Worker(database, [circling]):
            handle = await client.begin(circling)
            await until(lambda: circles)
            await handle.cancel("enough")
            await reached(client, handle.run_key, "sleeping")
        async with Worker(database, [circling]):
            with pytest.raises(RunCancelled):
                await handle.result(timeout=60)
    assert len(circles) == 2, "the second worker has replayed it"
    assert circles[0] == circles[1]


async def test_a_worker_that_is_stopped_hands_back_a_run_that_turns_in_circles(database: str) -> None:
    circles: list[int] = []

    @workflow
    async def circling(ctx: Context) -> None:
        await ctx.execute("one", str, 1)
        while True:
            circles.append(1)
            await asyncio.sleep(0)

    async with AsyncClient(database) as client:
        async with asyncio.timeout(30), Worker(database, [circling], graceful_shutdown_timeout=0):
            handle = await client.begin(circling)
            await until(lambda: circles)
        assert (await handle.info()).status in ("queued", "failed")
