"""asyncio's timers when something else happens to their run: ends, retries, kills, and other code."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from durable import AsyncClient, Client, Context, Worker, workflow
from durable.admin.migration import migrate
from tests.watching import reached, rows, until
from tests.worker.flows import running
from tests.worker.processes import WorkerProcess, entries, limited, prepare
from tests.worker.processes import until as until_now
from tests.worker.run.timed import CHECKS, HOUR, an_hour_passes, timers


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_with_one_shard_value_and_with_several(
    database: str, check: Callable[[str], Awaitable[None]], shards: int
) -> None:
    migrate(database, shard_count=shards)
    await check(database)


# kills

TIMER = "SELECT wake_at, created_at FROM durable.waits WHERE wait_type = 'timer'"


@pytest.mark.parametrize("age", ["young", "written"])
def test_a_timer_ends_a_step_after_the_worker_was_killed(database: str, age: str) -> None:
    """A young one starts again in full; one that was written is due when it was."""
    prepare(database)
    with Client(database) as client, WorkerProcess(database, hangs=True) as victim:
        handle = client.begin(limited, 2.5)
        until_now(lambda: entries(database))
        written: list[Any] = []
        if age == "written":
            written = until_now(lambda: asyncio.run(rows(database, TIMER)))
        victim.signal(signal.SIGKILL)
        with WorkerProcess(database, hangs=True):
            assert handle.result(timeout=30) == "too late"
        assert handle.info().takeovers == 1
        if written:
            assert asyncio.run(rows(database, TIMER)) == written
    # A timer that is overdue by now ends the step before it starts again.
    assert [*entries(database)[:1], entries(database)[-1]] == ["hang", "too late"]
    assert age == "written" or entries(database).count("hang") == 2


# other code


async def word(text: str) -> str:
    return text


def release(body: Any, version: int = 1) -> Any:
    return workflow(name="released", version=version)(body)


async def sleeps_and_waits(ctx: Context) -> str:
    await asyncio.sleep(0.05)
    return await ctx.wait_for_event("wait", "go", str)


async def until_parked(client: AsyncClient, database: str, wf: Any) -> Any:
    async with running(database, wf):
        handle = await client.begin(wf)
        await reached(client, handle.run_key, "waiting_event")
    return handle


async def test_a_timer_that_is_added_in_front_takes_the_answer_of_the_next_one(database: str) -> None:
    """As docs/asyncio.md says: what matters is given a name with ``ctx.sleep``."""

    async def a_short_one_and_a_long_one(ctx: Context) -> str:
        await asyncio.sleep(0.05)
        await asyncio.sleep(HOUR)
        return "slept"

    async def three(ctx: Context) -> str:
        await asyncio.sleep(2 * HOUR)
        await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        return "slept"

    async def has_slept(count: int) -> bool:
        fired = "SELECT count(satisfied_at)::int, count(*)::int FROM durable.waits"
        return await rows(database, fired) == [(count, count + 1)]

    async with AsyncClient(database) as client:
        async with running(database, old := release(a_short_one_and_a_long_one)):
            handle = await client.begin(old)
            await until(lambda: has_slept(1))
        await an_hour_passes(database)
        async with running(database, release(three)):
            assert await handle.result(timeout=20) == "slept"
    assert await timers(database, handle.run_key.run_id) == [(1, True), (2, True), (3, True)]


async def test_a_timer_that_is_added_before_an_open_wait_sets_the_run_aside(database: str) -> None:
    async def with_one_more(ctx: Context) -> str:
        await asyncio.sleep(HOUR)
        return await sleeps_and_waits(ctx)

    async with AsyncClient(database) as client:
        handle = await until_parked(client, database, release(sleeps_and_waits))
        await rows(database, "UPDATE durable.runs SET next_wake_at = now()")
        async with running(database, release(with_one_more)):
            await until(lambda: is_set_aside(handle))
        await handle.publish_event("go", "on")
        async with running(database, release(sleeps_and_waits)):
            assert await handle.result(timeout=20) == "on"


async def is_set_aside(handle: Any) -> bool:
    return (await handle.info()).status_reason == "set_aside"


async def test_a_timer_that_had_fired_and_is_gone_sets_the_run_aside_for_the_old_code(database: str) -> None:
    async def with_one_less(ctx: Context) -> str:
        return await ctx.wait_for_event("wait", "go", str)

    async with AsyncClient(database) as client:
        handle = await until_parked(client, database, release(sleeps_and_waits))
        await handle.publish_event("go", "on")
        async with running(database, release(with_one_less)):
            await reached(client, handle.run_key, "sleeping")
            info = await handle.info()
            assert (info.status_reason, info.attempts) == ("set_aside", 0)
            assert info.error is not None
            assert "timer 1 of asyncio" in info.error.message
        async with running(database, release(sleeps_and_waits)):
            assert await handle.result(timeout=20) == "on"


async def limits_its_wait(ctx: Context) -> str:
    async with asyncio.timeout(HOUR):
        return await ctx.wait_for_event("wait", "go", str)


async def test_a_timer_that_is_open_and_gone_is_dropped(database: str) -> None:
    async def without_a_limit(ctx: Context) -> str:
        return await ctx.wait_for_event("wait", "go", str)

    async with AsyncClient(database) as client:
        handle = await until_parked(client, database, release(limits_its_wait))
        assert await timers(database, handle.run_key.run_id) == [(1, False)]
        await rows(database, "UPDATE durable.runs SET next_wake_at = now()")
        async with running(database, release(without_a_limit)):
            await until(lambda: has_parked_again(database))
            assert await timers(database, handle.run_key.run_id) == []
            assert await rows(database, "SELECT next_wake_at FROM durable.runs") == [(None,)]
            await handle.publish_event("go", "on")
            assert await handle.result(timeout=20) == "on"


async def test_an_open_timer_is_due_when_it_was_although_the_code_has_another_limit(database: str) -> None:
    async def with_a_shorter_limit(ctx: Context) -> str:
        async with asyncio.timeout(0.05):
            return await ctx.wait_for_event("wait", "go", str)

    due = "SELECT wait.wake_at, run.next_wake_at = wait.wake_at FROM durable.waits AS wait, durable.runs AS run"
    timer = f"{due} WHERE wait_type = 'timer'"
    async with AsyncClient(database) as client:
        handle = await until_parked(client, database, release(limits_its_wait))
        before = await rows(database, timer)
        await rows(database, "UPDATE durable.runs SET next_wake_at = now()")
        async with running(database, release(with_a_shorter_limit)):
            await until(lambda: has_parked_again(database))
            assert await rows(database, timer) == before
            await handle.publish_event("go", "in time")
            assert await handle.result(timeout=20) == "in time"


async def has_parked_again(database: str) -> bool:
    return await rows(database, "SELECT epoch >= 2 AND status = 'waiting_event' FROM durable.runs") == [(True,)]


async def test_code_that_asks_for_the_version_arms_one_more_timer_in_new_runs_alone(database: str) -> None:
    async def of_both_versions(ctx: Context) -> str:
        if ctx.version >= 2:
            await asyncio.sleep(0.05)
        return await sleeps_and_waits(ctx)

    async with AsyncClient(database) as client:
        old = await until_parked(client, database, release(of_both_versions))
        second = release(of_both_versions, 2)
        async with running(database, second), running(database, release(of_both_versions)):
            new = await client.begin(second)
            for handle in (old, new):
                await handle.publish_event("go", "on")
                assert await handle.result(timeout=20) == "on"
    assert await timers(database, old.run_key.run_id) == [(1, True)]
    assert await timers(database, new.run_key.run_id) == [(1, True), (2, True)]


async def test_a_step_that_a_stopping_worker_has_interrupted_is_ended_by_its_timer_elsewhere(database: str) -> None:
    begun = asyncio.Event()

    async def slow() -> str:
        begun.set()
        await asyncio.sleep(600)
        return "slow"

    async def limited_step(ctx: Context) -> str:
        try:
            return await asyncio.wait_for(ctx.execute("slow", slow), 1.5)
        except TimeoutError:
            return "too late"

    wf = release(limited_step)
    async with AsyncClient(database) as client:
        async with Worker(database, [wf], graceful_shutdown_timeout=0):
            handle = await client.begin(wf)
            await begun.wait()
        async with running(database, wf):
            assert await handle.result(timeout=20) == "too late"
