"""Runs that take too long."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable import AsyncClient, Context, RunFailed, RunRetryPolicy, Worker, workflow
from tests.worker.run.notes import Notes


async def test_a_run_that_takes_too_long_fails_after_its_clean_up(database: str) -> None:
    notes = Notes()

    @workflow(timeout=0.2, retry=RunRetryPolicy(max_attempts=5))
    async def slow(ctx: Context, how: str) -> None:
        try:
            if how == "asleep":
                await ctx.sleep("pause", timedelta(days=1))
            elif how == "waiting":
                await ctx.wait_for_event("wait", "never")
            else:
                await ctx.execute("hang", asyncio.sleep, 600)
        finally:
            await ctx.sleep("grace", 0.3)
            await ctx.execute("cleanup", notes.note, how)

    hows = ["asleep", "waiting", "running"]
    async with AsyncClient(database) as client, Worker(database, [slow]):
        handles = [await client.begin(slow, how) for how in hows]
        for handle in handles:
            with pytest.raises(RunFailed, match="RunTimeout"):
                await handle.result(timeout=10)
    assert sorted(notes) == sorted(hows)


async def test_a_deadline_is_kept_while_no_worker_lives(database: str) -> None:
    @workflow(timeout=0.05)
    async def late(ctx: Context) -> None:
        await ctx.sleep("pause", 0.1)

    async with AsyncClient(database) as client:
        handles = [await client.begin(late), client.handle((await client.begin_many(late, [None]))[0], late)]
        await asyncio.sleep(0.1)
        async with Worker(database, [late]):
            for handle in handles:
                with pytest.raises(RunFailed, match="RunTimeout"):
                    await handle.result(timeout=10)
