"""Which runs a worker claims, and how many at once."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg

from durable import AsyncClient, Context, Worker, workflow
from tests.watching import rows, until
from tests.worker.flows import greeting, process_until_there_is_one


async def test_no_more_runs_of_a_workflow_are_executed_at_once_than_it_allows(database: str) -> None:
    active: set[int] = set()
    most: list[int] = []
    may_end = asyncio.Event()

    async def work(number: int) -> None:
        active.add(number)
        most.append(len(active))
        await may_end.wait()
        active.discard(number)

    @workflow(concurrency=2)
    async def narrow(ctx: Context, number: int) -> None:
        await ctx.execute("work", work, number)

    simple = greeting(Counter())
    async with AsyncClient(database) as client, Worker(database, [narrow, simple], poll_interval=0.02):
        keys = await client.begin_many(narrow, range(8))
        await until(lambda: len(active) == 2)
        # Those that must wait hold up no other workflow.
        assert await (await client.begin(simple, "World")).result(timeout=10) == "Hello, World!"
        assert await rows(
            database,
            "SELECT status, count(*)::int FROM durable.runs WHERE workflow_name = 'narrow' GROUP BY 1 ORDER BY 1",
        ) == [("queued", 6), ("running", 2)]
        may_end.set()
        for key in keys:
            await client.handle(key, narrow).result(timeout=10)
    assert max(most) == 2
    assert len(most) == 8


async def test_the_oldest_run_is_claimed_first_among_those_of_one_priority(database: str) -> None:
    claimed: list[str] = []

    @workflow
    async def noting(ctx: Context, name: str) -> None:
        claimed.append(name)
        if name == "sleeper":
            await ctx.sleep("nap", 0)

    worker = Worker(database, [noting])
    async with AsyncClient(database) as client:
        await client.begin(noting, "sleeper")
        assert await worker.process_one()
        for name in ("first", "second", "third"):
            await client.begin(noting, name)
        await client.begin(noting, "urgent", priority=1)
        await client.begin(noting, "idle", priority=-1)
        aged = "UPDATE durable.runs SET created_at = now() - interval '1 h' WHERE input #>> '{}' = 'third'"
        await rows(database, aged)
        for _ in range(6):
            await process_until_there_is_one(worker)
    assert claimed == ["sleeper", "sleeper", "urgent", "third", "first", "second", "idle"]


async def test_a_run_that_somebody_holds_is_passed_over(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(calls)
    worker = Worker(database, [simple])
    async with AsyncClient(database) as client, await psycopg.AsyncConnection.connect(database) as holder:
        held, free = [await client.begin(simple, name) for name in ("held", "free")]
        await holder.execute("SELECT FROM durable.runs WHERE run_id = %s FOR UPDATE", (held.run_key.run_id,))
        async with asyncio.timeout(10):
            assert await worker.process_one()
            assert await free.result(timeout=0) == "Hello, free!"
            assert not await worker.process_one()
        await holder.rollback()
        assert await worker.process_one()
        assert await held.result(timeout=0) == "Hello, held!"
