"""Runs that wait for events."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

import msgspec
import psycopg
import pytest

from durable import AsyncClient, Call, Context, RetryPolicy, RunCancelled, Worker, Workflow, workflow
from tests.watching import reached, rows
from tests.worker.flows import awaiting, process_all, process_until_there_is_one, running


async def test_04_an_event_wakes_the_run_that_waits_for_it(database: str) -> None:
    calls: Counter[str] = Counter()
    event = awaiting(calls)
    worker = Worker(database, [event])
    async with AsyncClient(database) as client:
        handle = await client.begin(event, "approval")
        assert await worker.process_one()
        assert (await handle.info()).status == "waiting_event"
        assert calls == {"before": 1}

        await handle.publish_event("approval", "approved!")
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
                await handle.publish_event("approval", "approved!")
            await engine.rollback()
        assert (await handle.info()).status == "waiting_event"  # applications insert; it is workers who wake runs
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
        await ctx.execute(Call("reserve", retry=RetryPolicy(max_retries=3)), call, "reserve")
        await ctx.execute(Call("pay", retry=RetryPolicy(max_retries=2)), call, "pay")
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
        assert (await handle.info()).status == "waiting_event"
        assert calls == {"validate": 1, "reserve": 1, "pay": 1}

        await handle.publish_event("warehouse_confirmation", Confirmation(True))
        assert await worker.process_one()
        tracking = await handle.result(timeout=0)
    assert calls == {"validate": 1, "reserve": 1, "pay": 1, "ship": 1}
    drawn = await rows(database, "SELECT output #>> '{}' FROM durable.steps WHERE kind = 'random_uuid7'")
    assert drawn == [(tracking,)]
    assert uuid.UUID(tracking).version == 7


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
            assert (await handle.info()).status == "waiting_event"
            await handle.publish_event(f"approval_{approver}", Approval(True))
            assert await worker.process_one()
        assert await handle.result(timeout=0) == ["approved"]


async def test_19_a_rejection_ends_the_chain(database: str) -> None:
    worker = Worker(database, [approvals])
    async with AsyncClient(database) as client:
        handle = await client.begin(approvals, APPROVERS)
        assert await worker.process_one()
        await handle.publish_event("approval_manager", Approval(True))
        assert await worker.process_one()
        await handle.publish_event("approval_director", Approval(False))
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


async def test_an_event_is_kept_from_its_commit_until_a_wait_consumes_it_in_order(database: str) -> None:
    @workflow
    async def reading(ctx: Context) -> list[int]:
        return [await ctx.wait_for_event(f"wait {index}", "number", int) for index in range(4)]

    async with AsyncClient(database) as client:
        handle = await client.begin(reading)
        for number in (1, 2):
            await client.publish_event(handle.run_key, "number", number)
        async with running(database, reading):
            await reached(client, handle.run_key, "waiting_event")
            for number in (3, 4):
                await client.publish_event(handle.run_key, "number", number)
            assert await handle.result(timeout=10) == [1, 2, 3, 4]


async def test_an_event_that_arrives_while_a_step_runs_is_not_lost(database: str) -> None:
    started = asyncio.Event()
    finish = asyncio.Event()

    async def step() -> None:
        started.set()
        await finish.wait()

    @workflow
    async def busy(ctx: Context) -> str:
        _, news = await asyncio.gather(ctx.execute("step", step), ctx.wait_for_event("wait", "news", str))
        return news

    async with running(database, busy) as client:
        handle = await client.begin(busy)
        await started.wait()
        await client.publish_event(handle.run_key, "news", "heard")
        finish.set()
        assert await handle.result(timeout=10) == "heard"


@pytest.mark.parametrize("payload", ["text", {"amount": "many"}, None, [1]], ids=str)
async def test_a_payload_that_cannot_be_read_sets_the_run_aside_and_a_retry_waits_for_another(
    database: str, payload: Any
) -> None:
    @workflow
    async def reading(ctx: Context) -> int:
        try:
            return await ctx.wait_for_event("wait", "news", int)
        except Exception:
            return -1

    async with AsyncClient(database) as client:
        handle = await client.begin(reading)
        await handle.publish_event("news", payload)
        await process_all(Worker(database, [reading]))
        status = await handle.info()
        assert (status.status, status.status_reason) == ("sleeping", "set_aside")
        assert status.error is not None
        assert "wait_for_event 'wait' for 'news' is recorded, but does not fit" in status.error.message
        await handle.retry()
        await handle.publish_event("news", 7)
        await process_until_there_is_one(Worker(database, [reading]))
        assert await handle.result(timeout=0) == 7


async def test_a_run_terminated_over_a_payload_that_did_not_fit_waits_for_another_when_it_is_retried(
    database: str,
) -> None:
    @workflow
    async def reading(ctx: Context) -> list[int]:
        return [await ctx.wait_for_event(key, "news", int) for key in ("first", "second")]

    async with AsyncClient(database) as client:
        handle = await client.begin(reading)
        await handle.publish_event("news", 1)
        await handle.publish_event("news", "two")
        await process_all(Worker(database, [reading]))
        await handle.terminate()
        await handle.publish_event("news", 3)
        await process_all(Worker(database, [reading]))
        assert (await handle.info()).status == "cancelled"
        await handle.retry()
        await process_until_there_is_one(Worker(database, [reading]))
        assert await handle.result(timeout=0) == [1, 3]


async def test_an_event_that_fits_newer_code_only_is_taken_by_it_and_kept_by_a_retry(database: str) -> None:
    broken = True

    def reading(payload: type) -> Workflow[None, Any]:
        @workflow(name="reading")
        async def read(ctx: Context) -> Any:
            heard = await ctx.wait_for_event("wait", "news", payload)
            if broken:
                raise ValueError("a bug")
            return heard

        return read

    old, new = reading(int), reading(str)
    async with AsyncClient(database) as client:
        handle = await client.begin(new)
        await handle.publish_event("news", "text")
        await process_all(Worker(database, [old]))
        await process_until_there_is_one(Worker(database, [new]))
        assert (await handle.info()).status == "failed"
        broken = False
        await handle.retry()
        await process_until_there_is_one(Worker(database, [new]))
        assert await handle.result(timeout=0) == "text"


async def test_while_a_step_runs_the_run_is_seen_running_and_takes_events_and_a_cancel(database: str) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    heard: list[int] = []

    def in_thread() -> None:  # a sync step cannot be interrupted
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(finish.wait(), loop).result()

    @workflow
    async def busy(ctx: Context) -> None:
        await ctx.execute("step", in_thread)
        heard.append(await ctx.wait_for_event("first", "news", int))
        heard.append(await ctx.wait_for_event("second", "news", int))
        await ctx.sleep("long", 3600)

    loop = asyncio.get_running_loop()
    async with AsyncClient(database) as client, Worker(database, [busy]):
        handle = await client.begin(busy)
        await started.wait()
        async with asyncio.timeout(10):
            assert (await handle.info()).status == "running"
            await handle.publish_event("news", 1)
            await handle.publish_event("news", 2)
            assert (await handle.info()).status == "running"
        finish.set()
        await reached(client, handle.run_key, "sleeping")
        assert heard == [1, 2]
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=10)
