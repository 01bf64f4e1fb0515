"""The ancestor's scenarios 3, 4, 12, 14, 16 to 19 and 41: runs that sleep or wait, driven one step at a time."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter

import msgspec
import psycopg

from durable import AsyncClient, Context, RetryPolicy, Worker, workflow
from tests.watching import reached, rows
from tests.worker.flows import awaiting, napping, process_all, process_until_there_is_one


async def test_03_sleep_and_wake(database: str) -> None:
    calls: Counter[str] = Counter()
    sleep = napping(calls, 0.5)
    worker = Worker(database, [sleep])
    async with AsyncClient(database) as client:
        handle = await client.begin(sleep)
        assert await worker.process_one()
        assert (await handle.status()).status == "sleeping"
        assert calls == {"before": 1}

        assert not await worker.process_one()

        await process_until_there_is_one(worker)
        assert (await handle.status()).status == "completed"
    assert calls == {"before": 1, "after": 1}


async def test_04_an_event_wakes_the_run_that_waits_for_it(database: str) -> None:
    calls: Counter[str] = Counter()
    event = awaiting(calls)
    worker = Worker(database, [event])
    async with AsyncClient(database) as client:
        handle = await client.begin(event, "approval")
        assert await worker.process_one()
        assert (await handle.status()).status == "waiting_event"
        assert calls == {"before": 1}

        await handle.publish("approval", "approved!")
        assert await worker.process_one()
        assert await handle.result(timeout=0) == "approved!"
    assert calls == {"before": 1, "after": 1}


async def test_04_publishing_waits_for_no_lock_on_the_run(database: str) -> None:
    event = awaiting(Counter())
    worker = Worker(database, [event])
    async with AsyncClient(database) as client:
        handle = await client.begin(event, "approval")
        assert await worker.process_one()
        async with await psycopg.AsyncConnection.connect(database) as engine:
            await engine.execute("SELECT FROM durable.runs FOR UPDATE")
            async with asyncio.timeout(10):
                await handle.publish("approval", "approved!")
            await engine.rollback()
        assert (await handle.status()).status == "waiting_event"  # applications insert; it is workers who wake runs
        assert await worker.process_one()
        assert await handle.result(timeout=0) == "approved!"


async def test_12_an_event_published_before_the_wait_is_there(database: str) -> None:
    event = awaiting(Counter())
    async with AsyncClient(database) as client:
        async with await psycopg.AsyncConnection.connect(database) as tx:
            run_key = await client.begin_tx(tx, event, "early_event")
            await client.publish_event_tx(tx, run_key, "early_event", "early")
        await process_all(Worker(database, [event]))  # the park may find the event, and hand the run to the next claim
        assert await client.get_run_output(run_key, str) == "early"


async def test_14_each_sleep_parks_the_run_once(database: str) -> None:
    @workflow
    async def twice(ctx: Context) -> None:
        await ctx.sleep("first", 0.05)
        await ctx.sleep("second", 0.05)

    worker = Worker(database, [twice])
    async with AsyncClient(database) as client:
        handle = await client.begin(twice)
        seen: list[str] = []
        for _ in range(3):
            await process_until_there_is_one(worker)
            seen.append((await handle.status()).status)
    assert seen == ["sleeping", "sleeping", "completed"]


class Confirmation(msgspec.Struct):
    confirmed: bool


async def test_16_an_order_is_processed(database: str) -> None:
    calls: Counter[str] = Counter()

    async def call(name: str) -> str:
        calls[name] += 1
        return name

    @workflow
    async def order(ctx: Context, number: int) -> str:
        await ctx.execute("validate", call, "validate")
        await ctx.execute("reserve", call, "reserve", retry=RetryPolicy(max_retries=3))
        await ctx.execute("pay", call, "pay", retry=RetryPolicy(max_retries=2))
        answer = await ctx.wait_for_event("warehouse", "warehouse_confirmation", Confirmation)
        if not answer.confirmed:
            return "refused"
        tracking = await ctx.random_uuid7("tracking_number")
        await ctx.execute("ship", call, "ship")
        return str(tracking)

    worker = Worker(database, [order])
    async with AsyncClient(database) as client:
        handle = await client.begin(order, 7)
        assert await worker.process_one()
        assert (await handle.status()).status == "waiting_event"
        assert calls == {"validate": 1, "reserve": 1, "pay": 1}

        await handle.publish("warehouse_confirmation", Confirmation(True))
        assert await worker.process_one()
        tracking = await handle.result(timeout=0)
    assert calls == {"validate": 1, "reserve": 1, "pay": 1, "ship": 1}
    drawn = await rows(database, "SELECT output #>> '{}' FROM durable.steps WHERE kind = 'random_uuid7'")
    assert drawn == [(tracking,)]
    assert uuid.UUID(tracking).version == 7


async def test_17_a_loop_of_steps_and_sleeps_comes_to_its_end(database: str) -> None:
    executed: list[int] = []

    async def execute(index: int) -> None:
        executed.append(index)

    @workflow
    async def scheduled(ctx: Context) -> None:
        for index in range(3):
            await ctx.execute(f"task {index}", execute, index)
            if index < 2:
                await ctx.sleep(f"pause {index}", 0.03)

    worker = Worker(database, [scheduled])
    async with AsyncClient(database) as client:
        handle = await client.begin(scheduled)
        for _ in range(3):
            await process_until_there_is_one(worker)
        assert (await handle.status()).status == "completed"
    assert executed == [0, 1, 2]


class Approval(msgspec.Struct):
    approved: bool


@workflow
async def approvals(ctx: Context, approvers: list[str]) -> list[str]:
    for approver in approvers:
        answer = await ctx.wait_for_event(f"wait for {approver}", f"approval_{approver}", Approval)
        if not answer.approved:
            return ["rejected", approver]
    return ["approved"]


APPROVERS = ["manager", "director", "cfo"]


async def test_18_a_chain_of_approvals(database: str) -> None:
    worker = Worker(database, [approvals])
    async with AsyncClient(database) as client:
        handle = await client.begin(approvals, APPROVERS)
        assert await worker.process_one()
        for approver in APPROVERS:
            assert (await handle.status()).status == "waiting_event"
            await handle.publish(f"approval_{approver}", Approval(True))
            assert await worker.process_one()
        assert await handle.result(timeout=0) == ["approved"]


async def test_19_a_rejection_ends_the_chain(database: str) -> None:
    worker = Worker(database, [approvals])
    async with AsyncClient(database) as client:
        handle = await client.begin(approvals, APPROVERS)
        assert await worker.process_one()
        await handle.publish("approval_manager", Approval(True))
        assert await worker.process_one()
        await handle.publish("approval_director", Approval(False))
        assert await worker.process_one()
        assert await handle.result(timeout=0) == ["rejected", "director"]


INSERT_EVENT = """
    INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload)
    VALUES (%s, %s, gen_random_uuid(), 'approval', '"raced"')
"""


async def test_41_an_event_whose_wake_never_came_is_found(database: str) -> None:
    event = awaiting(Counter())
    worker = Worker(database, [event])
    async with AsyncClient(database) as client:
        handle = await client.begin(event, "approval")
        assert await worker.process_one()
        await rows(database, INSERT_EVENT, handle.run_key.workflow_name_shard, handle.run_key.run_id)
        assert await worker.process_one()
        assert await handle.result(timeout=0) == "raced"


async def test_41_a_running_worker_finds_it_with_its_poll(database: str) -> None:
    event = awaiting(Counter())
    async with AsyncClient(database) as client, Worker(database, [event], poll_interval=0.05, max_poll_interval=0.2):
        handle = await client.begin(event, "approval")
        await reached(client, handle.run_key, "waiting_event")
        await rows(database, INSERT_EVENT, handle.run_key.workflow_name_shard, handle.run_key.run_id)
        assert await handle.result(timeout=10) == "raced"
