"""What may be asked of a run that has ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from durable import AsyncClient, AsyncHandle, Context, RunNotCancellable, RunNotCompleted, RunTerminal, Worker, workflow
from tests.watching import rows
from tests.worker.flows import awaiting, greeting, napping, process_all


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
    assert (await handle.info()).status == how
    return handle


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
async def test_a_run_that_has_ended_takes_no_cancel_and_only_a_failed_one_an_event(database: str, how: str) -> None:
    async with AsyncClient(database) as client:
        handle = await ended(client, database, how)
        before = await rows(database, "SELECT * FROM durable.events")
        for request in (handle.cancel, handle.terminate):
            with pytest.raises(RunNotCancellable, match=how):
                await request()
        if how == "failed":
            await handle.publish_event("news")
            before = await rows(database, "SELECT * FROM durable.events")
            assert len(before) == 1, "it may be retried, and then hears this"
        else:
            with pytest.raises(RunTerminal, match=how):
                await handle.publish_event("news")
        assert (await handle.info()).status == how
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


async def test_28_a_completed_run_cannot_be_cancelled(database: str) -> None:
    simple = greeting(Counter())
    async with AsyncClient(database) as client:
        handle = await client.begin(simple, "World")
        assert await Worker(database, [simple]).process_one()
        with pytest.raises(RunNotCancellable, match="completed"):
            await handle.cancel()
        assert await handle.result(timeout=0) == "Hello, World!"
