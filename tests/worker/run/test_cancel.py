"""Cancel, terminate, retry, deadlines: what becomes of runs that are to end before their time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    AsyncHandle,
    Context,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    RunNotCancellable,
    RunNotFound,
    RunNotRetryable,
    RunRetryPolicy,
    Worker,
    workflow,
)

NOWHERE = "lingering_0:01920000-0000-7000-8000-000000000000"


class Notes(list[str]):
    """What steps noted, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = asyncio.Event()

    async def note(self, text: str) -> str:
        self.append(text)
        self._arrived.set()
        return text

    async def until(self, text: str) -> None:
        async with asyncio.timeout(10):
            while text not in self:
                self._arrived.clear()
                await self._arrived.wait()


async def until_status(handle: AsyncHandle[Any], *statuses: str) -> None:
    async with asyncio.timeout(10):
        while (await handle.status()).status not in statuses:
            await asyncio.sleep(0.01)


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
        await handle.publish("go", "too late")
        await handle.publish("confirmed", "yes")
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
        assert (await handle.status()).status == "cancelled"


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


async def test_a_failed_run_goes_on_from_its_memos(database: str) -> None:
    notes = Notes()
    broken = True

    async def fragile() -> str:
        await notes.note("tried")
        if broken:
            raise ValueError("broken")
        return "mended"

    @workflow
    async def mending(ctx: Context) -> str:
        await ctx.execute("first", notes.note, "first")
        return await ctx.execute("fragile", fragile, retry=RetryPolicy(max_retries=0))

    async with AsyncClient(database) as client, Worker(database, [mending]):
        handle = await client.begin(mending)
        with pytest.raises(RunFailed):
            await handle.result(timeout=10)
        broken = False
        await handle.retry()
        await until_status(handle, "completed")
        assert await handle.result(timeout=10) == "mended"
        with pytest.raises(RunNotRetryable, match="completed"):
            await handle.retry()
    assert notes == ["first", "tried", "tried"]


async def test_a_cancelled_run_can_be_retried_and_forgets_the_cancel(database: str) -> None:
    notes = Notes()

    @workflow
    async def waiting(ctx: Context) -> str:
        await ctx.execute("first", notes.note, "first")
        return await ctx.wait_for_event("wait", "go", str)

    async with AsyncClient(database) as client, Worker(database, [waiting]):
        handle = await client.begin(waiting)
        await until_status(handle, "waiting_event")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=10)
        await handle.retry()
        await until_status(handle, "waiting_event")
        await handle.publish("go", "now")
        assert await handle.result(timeout=10) == "now"
    assert notes == ["first"]


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


async def test_a_request_in_a_transaction_that_rolls_back_has_no_effect(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [lingering]):
        handle = await client.begin(lingering)
        await until_status(handle, "sleeping")
        async with await psycopg.AsyncConnection.connect(database) as tx:
            await client.cancel_run_tx(tx, handle.run_key)
            await client.terminate_run_tx(tx, handle.run_key)
            await tx.rollback()
            assert (await handle.status()).status == "sleeping"
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


async def test_a_terminated_run_shows_the_reason_whatever_characters_it_has(database: str) -> None:
    reason = r"\u0000 \ud800 \\u0000 is text" + "\x01" * 1900 + "\U0010ffff"
    async with AsyncClient(database) as client, Worker(database, [lingering], poll_interval=0.05):
        handle = await client.begin(lingering)
        await until_status(handle, "sleeping")
        await client.terminate_run(handle.run_key, reason)
        with pytest.raises(RunCancelled) as caught:
            await handle.result(timeout=10)
    assert caught.value.reason == reason
