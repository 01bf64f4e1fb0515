"""A cancel is a request, and a worker answers it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from durable import AsyncClient, Call, Context, RetryPolicy, RunCancelled, RunNotCancellable, Worker, workflow
from tests.watching import rows, until
from tests.worker.flows import greeting, napping, process_all


async def test_26_a_sleeping_run_is_cancelled_once_a_worker_looks(database: str) -> None:
    calls: Counter[str] = Counter()
    sleep = napping(calls, 3600)
    worker = Worker(database, [sleep])
    async with AsyncClient(database) as client:
        handle = await client.begin(sleep)
        assert await worker.process_one()
        assert (await handle.info()).status == "sleeping"

        await handle.cancel("changed my mind")
        await handle.cancel("asked twice, which is as asking once")
        assert await worker.process_one()

        status = await handle.info()
        assert status.error is not None
        assert (status.status, status.error.message, status.next_wake_at) == ("cancelled", "changed my mind", None)
        with pytest.raises(RunNotCancellable, match="cancelled"):
            await handle.cancel()
        assert not await worker.process_one()
    assert calls == {"before": 1}


async def test_26_its_workflow_cleans_up(database: str) -> None:
    calls: Counter[str] = Counter()

    async def release() -> None:
        calls["released"] += 1

    @workflow
    async def holding(ctx: Context) -> None:
        try:
            await ctx.sleep("hold", 3600)
        finally:
            await ctx.execute("release", release)

    worker = Worker(database, [holding])
    async with AsyncClient(database) as client:
        handle = await client.begin(holding)
        assert await worker.process_one()
        await handle.cancel()
        assert await worker.process_one()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=0)
    assert calls == {"released": 1}


async def test_27_a_queued_run_is_cancelled_without_being_executed(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(calls)
    worker = Worker(database, [simple])
    async with AsyncClient(database) as client:
        handle = await client.begin(simple, "World")
        await handle.cancel()
        assert (await handle.info()).status == "queued"

        assert not await process_all(worker)
        assert (await handle.info()).status == "cancelled"
        with pytest.raises(RunNotCancellable):
            await handle.cancel()
    assert not calls
    assert await rows(database, "SELECT epoch, started_at FROM durable.runs") == [(0, None)]


async def test_a_cancel_of_a_busy_run_returns_at_once_and_stops_it_at_the_next_call(database: str) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    calls: Counter[str] = Counter()

    def in_thread() -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(finish.wait(), loop).result()

    async def never() -> None:
        calls["never"] += 1

    @workflow
    async def busy(ctx: Context) -> None:
        await ctx.execute("step", in_thread)
        await ctx.execute("never", never)

    @workflow
    async def idle(ctx: Context) -> None: ...

    async def is_routed() -> bool:
        return not await rows(database, "SELECT 1 FROM durable.events WHERE routed_at IS NULL")

    loop = asyncio.get_running_loop()
    async with AsyncClient(database) as client, Worker(database, [busy, idle]):
        handle = await client.begin(busy)
        await started.wait()
        async with asyncio.timeout(10):
            await handle.cancel("enough")
            assert (await handle.info()).status == "running"
        await until(is_routed)
        await (await client.begin(idle)).result(timeout=20)  # by now the worker has heard of the cancel, too
        finish.set()
        with pytest.raises(RunCancelled, match="enough"):
            await handle.result(timeout=20)
    assert not calls


async def test_a_cancel_is_obeyed_before_the_next_try_of_a_step(database: str) -> None:
    calls: Counter[str] = Counter()

    async def broken() -> None:
        calls["broken"] += 1
        raise ConnectionError("not yet")

    @workflow
    async def patient(ctx: Context) -> None:
        await ctx.execute(Call("broken", retry=RetryPolicy(max_retries=5, backoff=3600)), broken)

    async with AsyncClient(database) as client, Worker(database, [patient]):
        handle = await client.begin(patient)
        await until(lambda: calls["broken"])
        await handle.cancel("no more of it")
        with pytest.raises(RunCancelled, match="no more of it"):
            await handle.result(timeout=15)
    assert calls == {"broken": 1}
