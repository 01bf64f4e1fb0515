"""Many workers, each run once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from durable import AsyncClient, Context, Worker, Workflow, workflow
from tests.watching import rows
from tests.worker.flows import greeting, napping, process_all

STATUSES = "SELECT status, count(*)::int FROM durable.runs GROUP BY status"


async def process_all_with(workers: int, dsn: str, wf: Workflow[Any, Any]) -> list[int]:
    """So many workers at once, each P1 until there is nothing left; how many runs each processed."""
    return list(await asyncio.gather(*(process_all(Worker(dsn, [wf])) for _ in range(workers))))


async def test_11_three_workers_share_ten_runs(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(calls)
    async with AsyncClient(database) as client:
        await client.begin_many(simple, [f"number {index}" for index in range(10)])
    assert sum(await process_all_with(3, database, simple)) == 10
    assert await rows(database, STATUSES) == [("completed", 10)]
    assert calls == {"greet": 10}


async def test_13_a_run_of_an_unknown_workflow_is_left_alone(database: str) -> None:
    await rows(
        database,
        "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input)"
        " VALUES ('unknown_0', gen_random_uuid(), 'unknown', 'null')",
    )
    assert not await Worker(database, [greeting(Counter())]).process_one()
    assert await rows(database, STATUSES) == [("queued", 1)]


async def test_21_ten_workers_execute_each_step_of_fifty_runs_once(database: str) -> None:
    calls: Counter[str] = Counter()

    async def work(name: str) -> str:
        calls[name] += 1
        await asyncio.sleep(0.01)
        return name

    @workflow
    async def three(ctx: Context, number: int) -> None:
        for index in range(3):
            await ctx.execute(f"step {index}", work, f"{number}/{index}")

    async with AsyncClient(database) as client:
        await client.begin_many(three, range(50))
    assert sum(await process_all_with(10, database, three)) == 50
    assert await rows(database, STATUSES) == [("completed", 50)]
    assert calls == {f"{number}/{index}": 1 for number in range(50) for index in range(3)}
    assert await rows(database, "SELECT count(*) FROM durable.steps") == [(150,)]


async def test_22_twenty_workers_fight_for_five_runs(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(calls)
    async with AsyncClient(database) as client:
        await client.begin_many(simple, [f"number {index}" for index in range(5)])
    processed = await process_all_with(20, database, simple)
    assert (len(processed), sum(processed)) == (20, 5)
    assert await rows(database, STATUSES) == [("completed", 5)]
    assert calls == {"greet": 5}


@pytest.mark.parametrize("driven", ["by hand", "by themselves"])
async def test_23_eight_workers_execute_thirty_runs_once_each(database: str, driven: str) -> None:
    executed: list[str] = []

    @workflow
    async def recording(ctx: Context, number: int) -> str:
        async def record() -> str:
            executed.append(ctx.run_id)
            await asyncio.sleep(0.005)
            return ctx.run_id

        return await ctx.execute("record", record)

    async with AsyncClient(database) as client:
        keys = await client.begin_many(recording, range(30))
        if driven == "by themselves":
            async with asyncio.TaskGroup() as group:
                workers = [Worker(database, [recording]) for _ in range(8)]
                for worker in workers:
                    group.create_task(worker.run())
                results = [await client.handle(key, recording).result(timeout=20) for key in keys]
                for worker in workers:
                    worker.stop()
            assert results == [key.run_id for key in keys]
        else:
            assert sum(await process_all_with(8, database, recording)) == 30
    assert sorted(executed) == sorted(key.run_id for key in keys)
    assert await rows(database, STATUSES) == [("completed", 30)]


async def test_24_runs_that_wake_together_are_each_resumed_once(database: str) -> None:
    calls: Counter[str] = Counter()
    sleep = napping(calls, 3600)
    async with AsyncClient(database) as client:
        await client.begin_many(sleep, [None] * 10)
    assert sum(await process_all_with(5, database, sleep)) == 10
    assert await rows(database, STATUSES) == [("sleeping", 10)]
    assert calls == {"before": 10}

    # An hour passes, for the database alone.
    await rows(database, "UPDATE durable.waits SET wake_at = wake_at - interval '1 h'")
    await rows(database, "UPDATE durable.runs SET next_wake_at = next_wake_at - interval '1 h'")
    assert sum(await process_all_with(5, database, sleep)) == 10
    assert await rows(database, STATUSES) == [("completed", 10)]
    assert calls == {"before": 10, "after": 10}
