"""Cancelling: what becomes of runs that are to end before their time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Context, RunCancelled, RunNotCancellable, RunNotFound, RunRetryPolicy, Worker, workflow
from durable.worker.clock import Clock
from durable.worker.run.step_tasks import StepTasks
from tests.worker.run.notes import Notes, until_status

NOWHERE = "lingering_0:01920000-0000-7000-8000-000000000000"


@workflow
async def lingering(ctx: Context) -> str:
    await ctx.sleep("long", timedelta(days=1))
    return "woke"


async def test_a_run_that_was_never_started_ends_cancelled_without_being_executed(database: str) -> None:
    async with AsyncClient(database) as client:
        queued = await client.begin(lingering)
        delayed = await client.begin(lingering, delay=3600)
        await queued.cancel("changed my mind")
        await delayed.cancel()
        async with Worker(database, [lingering]):
            with pytest.raises(RunCancelled, match="changed my mind"):
                await queued.result(timeout=10)
            with pytest.raises(RunCancelled, match="no reason was given"):
                await delayed.result(timeout=10)
        async with await psycopg.AsyncConnection.connect(database) as connection:
            cursor = await connection.execute("SELECT count(*) FROM durable.runs WHERE started_at IS NOT NULL")
            assert await cursor.fetchone() == (0,)


async def test_a_sleeping_run_cleans_up_before_it_is_cancelled(database: str) -> None:
    notes = Notes()

    @workflow
    async def booking(ctx: Context) -> str:
        await ctx.execute("reserve", notes.note, "reserved")
        try:
            await ctx.sleep("pause", timedelta(days=1))
        finally:
            await ctx.execute("release", notes.note, "released")
            await ctx.sleep("grace", 0.01)
            await ctx.execute("tell", notes.note, "told")
        return "never"

    async with AsyncClient(database) as client, Worker(database, [booking]):
        handle = await client.begin(booking)
        await until_status(handle, "sleeping")
        await handle.cancel("no longer wanted")
        await handle.cancel("asked twice")
        with pytest.raises(RunCancelled, match="no longer wanted"):
            await handle.result(timeout=10)
        assert notes == ["reserved", "released", "told"]
        with pytest.raises(RunNotCancellable, match="cancelled"):
            await handle.cancel()


async def test_a_cancel_holds_across_workers_and_replays_in_its_place(database: str) -> None:
    notes = Notes()

    @workflow
    async def booking(ctx: Context) -> str:
        try:
            await ctx.wait_for_event("wait", "go", str)
        except asyncio.CancelledError:
            await ctx.execute("release", notes.note, "released")
            await ctx.wait_for_event("confirm", "confirmed", str)
            await ctx.execute("tell", notes.note, "told")
            raise
        return "never"

    async with AsyncClient(database) as client:
        async with Worker(database, [booking]):
            handle = await client.begin(booking)
            await until_status(handle, "waiting_event")
        await handle.cancel()
        async with Worker(database, [booking], max_resident=1):
            await notes.until("released")
            await until_status(handle, "waiting_event")
        await handle.publish_event("go", "too late")
        await handle.publish_event("confirmed", "yes")
        async with Worker(database, [booking]):
            with pytest.raises(RunCancelled):
                await handle.result(timeout=10)
    assert notes == ["released", "told"]


async def test_a_cancel_reaches_the_async_step_that_runs_and_waits_until_it_has_unwound(database: str) -> None:
    notes = Notes()

    async def charge() -> None:
        await notes.note("charging")
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0.05)
            await notes.note("unwound")

    @workflow
    async def paying(ctx: Context) -> None:
        try:
            await ctx.execute("charge", charge)
        finally:
            await ctx.execute("refund", notes.note, "refunded")

    async with AsyncClient(database) as client, Worker(database, [paying]):
        handle = await client.begin(paying)
        await notes.until("charging")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=10)
    assert notes == ["charging", "unwound", "refunded"]


async def swallow_and_return(ctx: Context) -> str:
    try:
        await ctx.sleep("pause", timedelta(days=1))
    except asyncio.CancelledError:
        pass
    return "swallowed"


async def swallow_and_fail(ctx: Context) -> str:
    try:
        await ctx.sleep("pause", timedelta(days=1))
    except asyncio.CancelledError:
        raise ValueError("the clean-up broke") from None
    return "never"


@pytest.mark.parametrize(("function", "reason"), [(swallow_and_return, "enough"), (swallow_and_fail, "clean-up broke")])
async def test_what_swallows_a_cancel_cannot_undo_it(
    database: str, function: Callable[[Context], Any], reason: str
) -> None:
    swallowing = workflow(name="swallowing", retry=RunRetryPolicy(max_attempts=3))(function)
    async with AsyncClient(database) as client, Worker(database, [swallowing]):
        handle = await client.begin(swallowing)
        await until_status(handle, "sleeping")
        await handle.cancel("enough")
        with pytest.raises(RunCancelled, match=reason):
            await handle.result(timeout=10)
        assert (await handle.info()).status == "cancelled"


async def test_a_gather_is_cancelled_as_a_whole(database: str) -> None:
    notes = Notes()

    async def branch(ctx: Context, name: str) -> None:
        try:
            await ctx.wait_for_event(name, "never")
        finally:
            await notes.note(name)

    @workflow
    async def both(ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(branch(ctx, "left"))
            group.create_task(branch(ctx, "right"))

    async with AsyncClient(database) as client, Worker(database, [both]):
        handle = await client.begin(both)
        await until_status(handle, "waiting_event")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=10)
    assert sorted(notes) == ["left", "right"]


async def test_a_request_in_a_transaction_that_rolls_back_has_no_effect(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [lingering]):
        handle = await client.begin(lingering)
        await until_status(handle, "sleeping")
        async with await psycopg.AsyncConnection.connect(database) as tx:
            await client.cancel_run_tx(tx, handle.run_key)
            await client.terminate_run_tx(tx, handle.run_key)
            await tx.rollback()
            assert (await handle.info()).status == "sleeping"
            await client.cancel_run_tx(tx, handle.run_key)
            await tx.commit()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=10)


async def test_requests_to_a_run_that_is_not_there_are_refused(database: str) -> None:
    async with AsyncClient(database) as client:
        for request in (client.cancel_run, client.terminate_run, client.retry_run):
            with pytest.raises(RunNotFound):
                await request(NOWHERE)


@pytest.mark.parametrize("kind", ["cancel", "terminate"])
@pytest.mark.parametrize("reason", [r'"a\u0000b"', f'"{"x" * 100_000}"'], ids=["an escaped NUL", "a long one"])
async def test_a_reason_written_by_sql_leaves_an_error_that_postgres_can_read(
    database: str, kind: str, reason: str
) -> None:
    async with (
        AsyncClient(database) as client,
        Worker(database, [lingering], poll_interval=0.05),
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
    ):
        handle = await client.begin(lingering)
        await until_status(handle, "sleeping")
        await connection.execute(
            "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, kind, payload)"
            " VALUES (%s, %s, gen_random_uuid(), 'request', %s, %s)",
            (handle.run_key.workflow_name_shard, handle.run_key.run_id, kind, reason),
        )
        await until_status(handle, "cancelled")
        cursor = await connection.execute("SELECT error ->> 'message' FROM durable.runs")
        ((message,),) = await cursor.fetchall()
        assert message[:3] in ("a\N{REPLACEMENT CHARACTER}b", "xxx", "no ")
        assert len(message) <= 8192


async def test_what_many_cancelled_steps_cost_is_not_paid_again_as_each_of_them_ends() -> None:
    steps = StepTasks(Clock())

    def seconds() -> float:
        before = time.process_time()
        for _ in range(1000):
            steps.forget_all(lambda task: None)
        return time.process_time() - before

    idle = seconds()
    for number in range(20_000):
        call: Any = SimpleNamespace(is_at_most_once=False, key=str(number))
        steps.defer(call)
    future: Any = asyncio.get_running_loop().create_future
    steps.all_is_written()
    while steps.may_start:
        steps.start_some(lambda call: future(), lambda call, task: None)
    steps.forget_all(lambda task: None)
    assert seconds() < 10 * max(idle, 0.0001)
