"""The ancestor's scenarios 26 and 27: a cancel is a request here, and a worker answers it."""

from __future__ import annotations

from collections import Counter

import pytest

from durable import AsyncClient, Context, RunCancelled, RunNotCancellable, Worker, workflow
from tests.watching import rows
from tests.worker.flows import greeting, napping, process_all


async def test_26_a_sleeping_run_is_cancelled_once_a_worker_looks(database: str) -> None:
    calls: Counter[str] = Counter()
    sleep = napping(calls, 3600)
    worker = Worker(database, [sleep])
    async with AsyncClient(database) as client:
        handle = await client.begin(sleep)
        assert await worker.process_one()
        assert (await handle.status()).status == "sleeping"

        await handle.cancel("changed my mind")
        await handle.cancel("asked twice, which is as asking once")
        assert await worker.process_one()

        status = await handle.status()
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
        assert (await handle.status()).status == "queued"

        assert not await process_all(worker)
        assert (await handle.status()).status == "cancelled"
        with pytest.raises(RunNotCancellable):
            await handle.cancel()
    assert not calls
    assert await rows(database, "SELECT epoch, started_at FROM durable.runs") == [(0, None)]
