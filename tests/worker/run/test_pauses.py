"""Pausing: a run stands still in whatever it does, and goes on where it was."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from durable import (
    AsyncClient,
    Call,
    Client,
    Context,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunNotPausable,
    RunNotPaused,
    RunRetryPolicy,
    Worker,
    exponential,
    workflow,
)
from tests.watching import until
from tests.worker.run.notes import Notes, until_status

NOWHERE = "waiting_0:01920000-0000-7000-8000-000000000000"


@workflow
async def waiting(ctx: Context) -> str:
    return await ctx.wait_for_event("wait", "go", str)


@workflow
async def sleeping(ctx: Context) -> str:
    await ctx.sleep("short", 0.3)
    return "woke"


async def status(client: AsyncClient, handle: object) -> str:
    return (await client.get_run_info(handle.run_key)).status  # type: ignore[attr-defined]


async def test_a_run_that_waits_keeps_its_events_until_it_is_resumed(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [waiting]):
        handle = await client.begin(waiting)
        await until_status(handle, "waiting_event")
        await handle.pause("maintenance")
        await until_status(handle, "paused")
        await handle.publish_event("go", "at last")
        await handle.pause()  # twice is as good as once
        other = await client.begin(waiting)  # by its end, the worker has routed the event as well
        await other.publish_event("go", "other")
        assert await other.result(timeout=10) == "other"
        assert await status(client, handle) == "paused"
        await handle.resume()
        assert await handle.result(timeout=10) == "at last"


async def test_a_step_that_is_running_finishes_and_none_starts_after_it(database: str) -> None:
    notes, started, ended = Notes(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        await notes.note("slow")
        started.set()
        await ended.wait()

    @workflow
    async def stepping(ctx: Context) -> str:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ctx.execute("slow", slow))
            tasks.create_task(ctx.wait_for_event("wait", "go"))
        await ctx.execute("next", notes.note, "next")
        return "done"

    async with AsyncClient(database) as client, Worker(database, [stepping]):
        handle = await client.begin(stepping)
        await asyncio.wait_for(started.wait(), 10)
        await handle.publish_event("go")
        await handle.pause()
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as look:

            async def is_routed() -> bool:
                cursor = await look.execute("SELECT FROM durable.events WHERE kind = 'pause' AND routed_at IS NOT NULL")
                return cursor.rowcount == 1

            await until(is_routed)
        assert await status(client, handle) == "running"
        ended.set()
        await until_status(handle, "paused")
        assert notes == ["slow"]
        await handle.resume()
        assert await handle.result(timeout=10) == "done"
        assert notes == ["slow", "next"]


async def test_a_pause_that_is_taken_back_before_it_begins_leaves_no_trace(database: str) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        started.set()
        await ended.wait()

    @workflow
    async def stepping(ctx: Context) -> str:
        await ctx.execute("slow", slow)
        return "done"

    async with AsyncClient(database) as client, Worker(database, [stepping]):
        handle = await client.begin(stepping)
        await asyncio.wait_for(started.wait(), 10)
        await handle.pause()
        await handle.resume()
        ended.set()
        assert await handle.result(timeout=10) == "done"


async def test_a_run_that_was_never_started_is_paused_and_starts_when_it_would_have(database: str) -> None:
    async with AsyncClient(database) as client:
        queued, delayed = await client.begin(sleeping), await client.begin(sleeping, delay=0.5)
        later = await client.begin(sleeping, delay=3600)
        for handle in (queued, delayed, later):
            await handle.pause()
        async with Worker(database, [sleeping]):
            for handle in (queued, delayed, later):
                await until_status(handle, "paused")
                await handle.resume()
            assert await queued.result(timeout=10) == "woke"
            assert await delayed.result(timeout=10) == "woke"
            assert await status(client, later) == "sleeping"


async def test_a_pause_outlives_workers_and_sleeps_go_on_meanwhile(database: str) -> None:
    async with AsyncClient(database) as client:
        async with Worker(database, [sleeping]):
            handle = await client.begin(sleeping)
            await until_status(handle, "sleeping")
            await handle.pause()
            await until_status(handle, "paused")
        async with Worker(database, [sleeping]):
            other = await client.begin(sleeping)
            assert await other.result(timeout=10) == "woke"  # it slept as long, and began later
            assert await status(client, handle) == "paused"
            await handle.resume()
            assert await handle.result(timeout=10) == "woke"


async def test_a_cancel_lifts_a_pause_and_the_clean_up_runs(database: str) -> None:
    notes = Notes()

    @workflow
    async def tidy(ctx: Context) -> None:
        try:
            await ctx.wait_for_event("wait", "go")
        finally:
            await ctx.execute("clean", notes.note, "cleaned")

    async with AsyncClient(database) as client, Worker(database, [tidy]):
        handle = await client.begin(tidy)
        await until_status(handle, "waiting_event")
        await handle.pause()
        await until_status(handle, "paused")
        await handle.cancel("enough")
        with pytest.raises(RunCancelled, match="enough"):
            await handle.result(timeout=10)
        assert notes == ["cleaned"]


async def test_a_termination_and_a_deadline_end_a_paused_run(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [waiting]):
        terminated, late = await client.begin(waiting), await client.begin(waiting, timeout=0.5)
        for handle in (terminated, late):
            await until_status(handle, "waiting_event")
            await handle.pause()
            await until_status(handle, "paused")
        await terminated.terminate("now")
        with pytest.raises(RunCancelled, match="now"):
            await terminated.result(timeout=10)
        await asyncio.sleep(0.6)  # for the deadline, which nothing else tells
        assert await status(client, late) == "paused"
        await late.resume()
        with pytest.raises(RunFailed, match="deadline"):
            await late.result(timeout=10)


async def test_a_back_off_is_kept_through_a_pause(database: str) -> None:
    calls: list[str] = []

    async def stumble() -> None:
        calls.append("call")
        raise ValueError("not yet")

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=exponential(3600, 3600)))
    async def retried(ctx: Context) -> None:
        raise ValueError("attempt")

    @workflow
    async def tried(ctx: Context) -> None:
        await ctx.execute(Call("s", retry=RetryPolicy(backoff=exponential(3600, 3600))), stumble)

    async with AsyncClient(database) as client, Worker(database, [retried, tried]):
        handles = [await client.begin(retried), await client.begin(tried)]
        for handle in handles:
            await until_status(handle, "sleeping")
            before = (await handle.info()).next_wake_at
            await handle.pause()
            await until_status(handle, "paused")
            await handle.resume()
            await until_status(handle, "sleeping")
            assert (await handle.info()).next_wake_at == before
    assert calls == ["call"]


async def test_a_paused_run_counts_as_active_for_its_key(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [waiting]):
        first = await client.begin(waiting, key="k")
        await first.pause()
        await until_status(first, "paused")
        assert not (await client.begin(waiting, key="k", if_ended="begin_anew")).is_new
        second = await client.begin(waiting, key="k", if_active="cancel", if_ended="begin_anew")
        await second.pause()
        with pytest.raises(RunCancelled):
            await first.result(timeout=10)
        await until_status(second, "paused")
        await second.publish_event("go", "second")
        await second.resume()
        assert await second.result(timeout=10) == "second"


async def test_a_follower_that_is_paused_waits_for_its_predecessor_all_the_same(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [waiting]):
        first = await client.begin(waiting, key="k")
        await until_status(first, "waiting_event")
        await first.pause()
        await until_status(first, "paused")
        async with await psycopg.AsyncConnection.connect(database) as held:
            await held.execute("SELECT FROM durable.runs FOR UPDATE")  # so that the first one is not cancelled yet
            second = await client.begin(waiting, key="k", if_active="cancel")
            await second.pause()
        await until_status(second, "paused")
        await second.resume()
        await second.publish_event("go", "second")
        assert await second.result(timeout=10) == "second"


async def test_a_parent_waits_for_a_child_that_is_paused(database: str) -> None:
    @workflow
    async def parent(ctx: Context) -> str:
        return await ctx.run_child("child", waiting)

    async with AsyncClient(database) as client, Worker(database, [waiting, parent]):
        handle = await client.begin(parent)
        await until_status(handle, "waiting_event")
        (child,) = await client.list_runs(workflow="waiting")
        await client.pause_run(child.run_key)
        await until(lambda: _is(client, child.run_key, "paused"))
        assert [run.run_key for run in await client.list_runs(status="paused")] == [child.run_key]
        await client.publish_event(child.run_key, "go", "x")
        await client.pause_run(handle.run_key)
        await until_status(handle, "paused")
        await client.resume_run(child.run_key)
        await until(lambda: _is(client, child.run_key, "completed"))
        assert await status(client, handle) == "paused"
        await handle.resume()
        assert await handle.result(timeout=10) == "x"


async def _is(client: AsyncClient, run_key: object, wanted: str) -> bool:
    return (await client.get_run_info(run_key)).status == wanted  # type: ignore[arg-type]


async def test_what_cannot_be_paused_or_resumed_is_refused(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [waiting]):
        handle = await client.begin(waiting)
        await until_status(handle, "waiting_event")
        with pytest.raises(RunNotPaused, match="is not paused, its status is 'waiting_event'"):
            await handle.resume()
        await handle.publish_event("go", "x")
        await handle.result(timeout=10)
        with pytest.raises(RunNotPausable, match="has already ended"):
            await handle.pause()
        with pytest.raises(RunNotPaused):
            await handle.resume()
        for request in (client.pause_run, client.resume_run):
            with pytest.raises(RunNotFound):
                await request(NOWHERE)


def test_both_are_requested_in_the_transaction_of_an_application(database: str) -> None:
    with Client(database) as client, psycopg.connect(database) as tx:
        handle = client.begin(waiting)
        client.pause_run_tx(tx, handle.run_key, "later")
        client.resume_run_tx(tx, handle.run_key)
        tx.rollback()
        with pytest.raises(RunNotPaused):
            client.resume_run(handle.run_key)
        client.pause_run_tx(tx, handle.run_key)
        tx.commit()
        client.resume_run(handle.run_key)


async def test_a_retry_of_a_run_does_not_find_the_pause_that_came_too_late(database: str) -> None:
    started, ended = asyncio.Event(), asyncio.Event()
    attempts: list[int] = []

    async def slow() -> None:
        started.set()
        await ended.wait()

    @workflow
    async def failing(ctx: Context) -> int:
        attempts.append(1)
        await ctx.execute("slow", slow)
        if len(attempts) == 1:
            raise ValueError("once")
        return len(attempts)

    async with AsyncClient(database) as client, Worker(database, [failing]):
        handle = await client.begin(failing)
        await asyncio.wait_for(started.wait(), 10)
        await handle.pause()
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as look:

            async def is_routed() -> bool:
                cursor = await look.execute("SELECT FROM durable.events WHERE kind = 'pause' AND routed_at IS NOT NULL")
                return cursor.rowcount == 1

            await until(is_routed)
        ended.set()
        with pytest.raises(RunFailed):
            await handle.result(timeout=10)
        await handle.retry()
        assert await handle.result(timeout=10) == 2
