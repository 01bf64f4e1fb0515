"""Terminating a run: it executes nothing more, and says why."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable import AsyncClient, Context, RunCancelled, RunNotCancellable, Worker, workflow
from tests.worker.run.notes import Notes, until_status


@workflow
async def lingering(ctx: Context) -> str:
    await ctx.sleep("long", timedelta(days=1))
    return "woke"


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "sleeping"])
async def test_a_terminated_run_executes_nothing_more(database: str, is_running: bool) -> None:  # noqa: FBT001
    notes = Notes()

    async def hang() -> None:
        await notes.note("hanging")
        await asyncio.sleep(600)

    @workflow
    async def stubborn(ctx: Context) -> None:
        try:
            if is_running:
                await ctx.execute("hang", hang)
            await ctx.sleep("pause", timedelta(days=1))
        finally:
            await ctx.execute("cleanup", notes.note, "cleaned up")

    async with AsyncClient(database) as client, Worker(database, [stubborn]):
        handle = await client.begin(stubborn)
        await (notes.until("hanging") if is_running else until_status(handle, "sleeping"))
        await handle.terminate("by force")
        with pytest.raises(RunCancelled, match="by force"):
            await handle.result(timeout=10)
        with pytest.raises(RunNotCancellable):
            await handle.terminate()
    assert "cleaned up" not in notes


async def test_a_terminated_run_shows_the_reason_whatever_characters_it_has(database: str) -> None:
    reason = r"\u0000 \ud800 \\u0000 is text" + "\x01" * 1900 + "\U0010ffff"
    async with AsyncClient(database) as client, Worker(database, [lingering], poll_interval=0.05):
        handle = await client.begin(lingering)
        await until_status(handle, "sleeping")
        await client.terminate_run(handle.run_key, reason)
        with pytest.raises(RunCancelled) as caught:
            await handle.result(timeout=10)
    assert caught.value.reason == reason
