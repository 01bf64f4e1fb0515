"""`Worker.process_one`: one run at a time, by hand."""

from __future__ import annotations

import asyncio

import pytest

from durable import AsyncClient, Context, DurableError, SchemaError, Worker, workflow


async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow
async def greeting(ctx: Context, name: str) -> str:
    await ctx.sleep("pause", 0.05)
    return await ctx.execute("greet", greet, name)


@workflow
async def other(ctx: Context) -> str:
    return "other"


async def test_a_run_is_processed_up_to_its_park_and_then_to_its_end(database: str) -> None:
    worker = Worker(database, [greeting])
    async with AsyncClient(database) as client:
        assert not await worker.process_one()
        handle = await client.begin(greeting, "World")
        assert await worker.process_one()
        assert (await handle.info()).status == "sleeping"
        while not await worker.process_one():
            await asyncio.sleep(0.01)
        assert await handle.result(timeout=0) == "Hello, World!"
        assert not await worker.process_one()


async def test_no_workflow_starves_the_others(database: str) -> None:
    worker = Worker(database, [greeting, other])
    async with AsyncClient(database) as client:
        for _ in range(3):
            await client.begin(greeting, "World")
        last = await client.begin(other)
        for _ in range(2):
            assert await worker.process_one()
        assert (await last.info()).status == "completed"


async def test_a_worker_that_runs_is_not_driven_by_hand(database: str) -> None:
    async with Worker(database, [other]) as worker:
        with pytest.raises(DurableError, match="running"):
            await worker.process_one()


async def test_a_missing_schema_is_named(bare_database: str) -> None:
    with pytest.raises(SchemaError, match="durable migrate"):
        await Worker(bare_database, [other]).process_one()
