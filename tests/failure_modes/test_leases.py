"""Failure modes B2, B6, B7: what holds a lease up, and what must not."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from durable import AsyncClient, Context, Worker, workflow
from tests.watching import until

LEASE = 1.2


async def test_b2_a_step_of_ten_leases_runs_once_while_its_lease_is_renewed(database: str) -> None:
    calls: Counter[str] = Counter()

    async def long(name: str) -> str:
        calls[name] += 1
        await asyncio.sleep(10 * LEASE)
        return name

    @workflow
    async def lasting(ctx: Context) -> str:
        return await ctx.execute("long", long, "long")

    async with AsyncClient(database) as client, Worker(database, [lasting], lease=LEASE):
        async with Worker(database, [lasting], lease=LEASE):
            handle = await client.begin(lasting)
            assert await handle.result(timeout=10 * LEASE + 5) == "long"
            assert (await handle.info()).takeovers == 0
    assert calls == {"long": 1}


async def test_b6_code_that_blocks_the_loop_for_three_leases_is_named_and_keeps_its_run_to_itself(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls: Counter[str] = Counter()

    async def note(name: str) -> None:
        calls[name] += 1

    @workflow
    async def blocking(ctx: Context) -> str:
        await ctx.execute("before", note, "before")
        await ctx.execute("blocked", hold_the_loop)
        await ctx.execute("after", note, "after")
        return "done"

    async def hold_the_loop() -> None:
        calls["blocked"] += 1
        time.sleep(3 * LEASE)

    started, ended = threading.Event(), threading.Event()

    def neighbour() -> None:  # with a loop of its own, so that it lives on
        async def live() -> None:
            async with Worker(database, [blocking], lease=LEASE):
                started.set()
                await asyncio.to_thread(ended.wait)

        asyncio.run(live())

    async with AsyncClient(database) as client, Worker(database, [blocking], lease=LEASE) as worker:
        handle = await client.begin(blocking)
        await until(lambda: calls["before"])
        living = threading.Thread(target=neighbour)
        living.start()
        try:
            assert await handle.result(timeout=15) == "done"
            assert (await handle.info()).takeovers == 0
            assert worker.healthy()
        finally:
            ended.set()
            await asyncio.to_thread(living.join)
    assert calls == {"before": 1, "blocked": 1, "after": 1}
    assert "the event loop has been blocked" in caplog.text
    assert "hold_the_loop" in caplog.text


async def test_b7_the_lease_is_renewed_while_steps_hold_every_connection_of_the_pool(database: str) -> None:
    holding = asyncio.Event()

    async def hold(tx: psycopg.AsyncConnection[Any]) -> int:
        holding.set()
        await asyncio.sleep(4 * LEASE)
        return 1

    @workflow
    async def greedy(ctx: Context) -> int:
        return sum(await asyncio.gather(*(ctx.transaction(f"hold {index}", hold) for index in range(2))))

    async with (
        AsyncConnectionPool(database, min_size=1, max_size=2, open=False) as pool,
        AsyncClient(database) as client,
    ):
        any_pool: Any = pool
        async with Worker(any_pool, [greedy], lease=LEASE) as worker, Worker(database, [greedy], lease=LEASE):
            handle = await client.begin(greedy)
            await asyncio.wait_for(holding.wait(), 10)
            assert await handle.result(timeout=15) == 2
            assert (await handle.info()).takeovers == 0
            assert worker.healthy()


@pytest.fixture(autouse=True)
def warnings_are_captured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
