"""A retry that somebody asks for, of a run that has ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import (
    AsyncClient,
    AsyncHandle,
    Call,
    Context,
    EventTimeout,
    ResultTimeout,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    RunNotCancellable,
    RunNotCompleted,
    RunNotRetryable,
    RunRetryPolicy,
    Worker,
    Workflow,
    workflow,
)
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
        return await ctx.execute(Call("fragile", retry=RetryPolicy(max_retries=0)), fragile)

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


async def test_a_retry_of_a_run_that_waited_in_vain_waits_again(database: str) -> None:
    @workflow
    async def approval(ctx: Context) -> str:
        return await ctx.wait_for_event("approval", "approve", str, timeout=0.05)

    async with AsyncClient(database) as client, Worker(database, [approval]):
        handle = await client.begin(approval)
        with pytest.raises(RunFailed, match="EventTimeout"):
            await handle.result(timeout=10)
        await handle.publish_event("approve", "by the boss")
        assert (await handle.info()).status == "failed"
        await handle.retry()
        assert await handle.result(timeout=10) == "by the boss"


@pytest.mark.parametrize("handles", ["from", "instead", "beside", "after"])
async def test_a_timeout_that_led_to_another_error_is_forgotten_by_a_retry(database: str, handles: str) -> None:
    notes = Notes()

    @workflow
    async def approval(ctx: Context) -> str:
        heard = None
        try:
            if handles == "beside":
                async with asyncio.TaskGroup() as group:
                    group.create_task(ctx.wait_for_event("other", "never", timeout=60))
                    heard = group.create_task(ctx.wait_for_event("approval", "approve", str, timeout=0.05))
                return heard.result()
            return await ctx.wait_for_event("approval", "approve", str, timeout=0.05)
        except EventTimeout as error:
            if handles == "from":
                await ctx.execute("note", notes.note, "too late")
                raise LookupError("not approved") from error
            if handles == "instead":
                raise LookupError("not approved") from None
        raise LookupError("not approved")

    async with AsyncClient(database) as client:
        handle = await client.begin(approval)
        await process_until_ended(database, approval, handle)
        assert (await handle.info()).status == "failed"
        await handle.publish_event("approve", "by the boss")
        if handles == "beside":
            await handle.publish_event("never", "after all")
        await handle.retry()
        await process_until_ended(database, approval, handle)
        assert await handle.result(timeout=0) == "by the boss"
    assert notes == (["too late"] if handles == "from" else [])


async def process_until_ended(database: str, flow: Workflow[None, Any], handle: AsyncHandle[Any]) -> None:
    worker = Worker(database, [flow])
    async with asyncio.timeout(20):
        while (await handle.info()).status not in ("completed", "failed", "cancelled"):
            await worker.process_one()


async def test_a_timeout_that_the_code_acted_upon_is_kept_by_a_retry(database: str) -> None:
    notes = Notes()
    broken = True

    async def fragile() -> str:
        if broken:
            raise ValueError("broken")
        return "mended"

    @workflow
    async def reminding(ctx: Context) -> str:
        try:
            await ctx.wait_for_event("approval", "approve", str, timeout=0.05)
        except EventTimeout:
            await ctx.execute("remind", notes.note, "reminded")
        else:
            return "approved"
        return await ctx.execute(Call("fragile", retry=RetryPolicy(max_retries=0)), fragile)

    async with AsyncClient(database) as client, Worker(database, [reminding]):
        handle = await client.begin(reminding)
        with pytest.raises(RunFailed, match="broken"):
            await handle.result(timeout=10)
        broken = False
        await handle.publish_event("approve", "late")
        await handle.retry()
        assert await handle.result(timeout=10) == "mended"
    assert notes == ["reminded"]


async def test_each_attempt_of_a_run_waits_for_its_event(database: str) -> None:
    attempts: list[float] = []

    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def waiting(ctx: Context) -> str:
        if not ctx.is_replaying:
            attempts.append(ctx.attempt)
        return await ctx.wait_for_event("wait", "go", str, timeout=0.2)

    async with AsyncClient(database) as client, Worker(database, [waiting]):
        handle = await client.begin(waiting)
        async with asyncio.timeout(10):
            while 3 not in attempts:
                await asyncio.sleep(0.005)
        await handle.publish_event("go", "at last")
        assert await handle.result(timeout=10) == "at last"
        assert (await handle.info()).attempts == 2


async def test_a_requested_retry_is_seen_before_any_worker_has_met_it(database: str) -> None:
    broken = True

    @workflow
    async def breaking(ctx: Context) -> str:
        if broken:
            raise ValueError("broken")
        return await ctx.wait_for_event("go", "go", str)

    async with AsyncClient(database) as client:
        async with Worker(database, [breaking]):
            handle = await client.begin(breaking)
            with pytest.raises(RunFailed):
                await handle.result(timeout=10)
        broken = False
        await handle.retry()
        assert (await handle.info()).status == "queued"
        assert [run.status for run in await client.list_runs(status="queued")] == ["queued"]
        assert await client.list_runs(status="failed") == []
        with pytest.raises(ResultTimeout, match="queued"):
            await handle.result(timeout=0)
        with pytest.raises(RunNotCompleted, match="queued"):
            await client.get_run_output(handle.run_key)
        await handle.publish_event("go", "heard")
        async with Worker(database, [breaking]):
            assert await handle.result(timeout=10) == "heard"


async def test_a_run_whose_retry_was_requested_can_be_cancelled(database: str) -> None:
    broken = True

    @workflow
    async def breaking(ctx: Context) -> str:
        if broken:
            raise ValueError("broken")
        return await ctx.wait_for_event("go", "go", str)

    async with AsyncClient(database) as client:
        handle = await client.begin(breaking)
        await process_until_ended(database, breaking, handle)
        with pytest.raises(RunNotCancellable):
            await handle.cancel()
        broken = False
        await handle.retry()
        await handle.cancel("never mind")
        await process_until_ended(database, breaking, handle)
        assert (await handle.info()).status == "cancelled"
