"""A retry that somebody asks for, of a run that has ended."""

from __future__ import annotations

import pytest

from durable import AsyncClient, Context, RetryPolicy, RunCancelled, RunFailed, RunNotRetryable, Worker, workflow
from tests.worker.run.notes import Notes, until_status


async def test_a_failed_run_goes_on_from_its_memos(database: str) -> None:
    notes = Notes()
    broken = True

    async def fragile() -> str:
        await notes.note("tried")
        if broken:
            raise ValueError("broken")
        return "mended"

    @workflow
    async def mending(ctx: Context) -> str:
        await ctx.execute("first", notes.note, "first")
        return await ctx.execute("fragile", fragile, retry=RetryPolicy(max_retries=0))

    async with AsyncClient(database) as client, Worker(database, [mending]):
        handle = await client.begin(mending)
        with pytest.raises(RunFailed):
            await handle.result(timeout=10)
        broken = False
        await handle.retry()
        await until_status(handle, "completed")
        assert await handle.result(timeout=10) == "mended"
        with pytest.raises(RunNotRetryable, match="completed"):
            await handle.retry()
    assert notes == ["first", "tried", "tried"]


async def test_a_cancelled_run_can_be_retried_and_forgets_the_cancel(database: str) -> None:
    notes = Notes()

    @workflow
    async def waiting(ctx: Context) -> str:
        await ctx.execute("first", notes.note, "first")
        return await ctx.wait_for_event("wait", "go", str)

    async with AsyncClient(database) as client, Worker(database, [waiting]):
        handle = await client.begin(waiting)
        await until_status(handle, "waiting_event")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=10)
        await handle.retry()
        await until_status(handle, "waiting_event")
        await handle.publish_event("go", "now")
        assert await handle.result(timeout=10) == "now"
    assert notes == ["first"]
