"""Steps that take too long: cut off or given up, and tried again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from durable import AsyncClient, Call, Context, RetryPolicy, Worker, workflow
from tests.worker.flows import running


async def test_an_async_step_that_ignores_its_timeout_is_waited_for_and_counts(database: str) -> None:
    calls: Counter[str] = Counter()

    async def deaf() -> str:
        calls["deaf"] += 1
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            calls["ignored"] += 1
        return "late"

    @workflow
    async def hanging(ctx: Context) -> str:
        return await ctx.execute(Call("deaf", retry=RetryPolicy(max_retries=3, backoff=0, timeout=0.05)), deaf)

    async with AsyncClient(database) as client:
        handle = await client.begin(hanging)
        assert await Worker(database, [hanging]).process_one()
        assert await handle.result(timeout=0) == "late"
    assert calls == {"deaf": 1, "ignored": 1}


async def test_31_a_step_that_takes_too_long_is_cut_off_and_retried(database: str) -> None:
    calls: Counter[str] = Counter()

    async def hang() -> None:
        calls["started"] += 1
        await asyncio.sleep(5)
        calls["finished"] += 1

    @workflow
    async def hanging(ctx: Context) -> None:
        await ctx.execute(Call("hang", retry=RetryPolicy(max_retries=1, backoff=0, timeout=0.05)), hang)

    async with AsyncClient(database) as client:
        handle = await client.begin(hanging)
        began = time.monotonic()
        assert await Worker(database, [hanging]).process_one()
        assert time.monotonic() - began < 4
        status = await handle.info()
    assert status.error is not None
    assert status.status == "failed"
    assert "did not finish within 0.05 s" in status.error.message
    assert calls == {"started": 2}


async def test_a_step_that_hangs_is_cut_off_and_retried(database: str) -> None:
    calls: Counter[str] = Counter()

    async def slow() -> str:
        calls["slow"] += 1
        if calls["slow"] == 1:
            await asyncio.sleep(600)
        return "at last"

    @workflow
    async def patient(ctx: Context) -> str:
        policy = RetryPolicy(max_retries=1, backoff=0, timeout=0.05)
        return await ctx.execute(Call("slow", retry=policy), slow)

    async with running(database, patient) as client:
        assert await (await client.begin(patient)).result(timeout=10) == "at last"
