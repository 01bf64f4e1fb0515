"""``ctx.timeout`` on workers: over steps, events and children, after a crash, an eviction and a retry."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Context, RunCancelled, RunFailed, RunRetryPolicy, Worker, workflow
from tests.watching import rows, until
from tests.worker.run.notes import until_status


async def hang() -> None:
    await asyncio.sleep(3600)


async def work(what: str) -> str:
    return what


@workflow
async def never(ctx: Context) -> None:
    await ctx.wait_for_event("wait", "never")


@workflow
async def limits(ctx: Context, seconds: float) -> list[str]:
    found: list[str] = []
    for name, begin in (
        ("step", lambda: ctx.execute("hang", hang)),
        ("event", lambda: ctx.wait_for_event("wait", "never")),
        ("child", lambda: ctx.run_child("run", never)),
    ):
        try:
            async with ctx.timeout(name, seconds):
                await begin()
        except TimeoutError as error:
            found.append(str(error))
    async with ctx.timeout("in time", 3600):
        found.append(await ctx.execute("work", work, "done"))
    return found


@workflow
async def waits(ctx: Context, seconds: float) -> str:
    try:
        async with ctx.timeout("limit", seconds):
            return await ctx.wait_for_event("wait", "news", str)
    except TimeoutError:
        return await ctx.execute("instead", work, "nothing came")


@pytest.mark.parametrize("max_resident", [1, 10])
async def test_steps_waits_and_children_are_given_up_when_the_time_is_over(database: str, max_resident: int) -> None:
    async with AsyncClient(database) as client, Worker(database, [limits, never], max_resident=max_resident):
        run = await client.begin(limits, 0.2)
        assert await run.result(timeout=30) == [
            "timeout 'step' of 0.2 s is over",
            "timeout 'event' of 0.2 s is over",
            "timeout 'child' of 0.2 s is over",
            "done",
        ]
        (child,) = await rows(database, "SELECT run_id::text FROM durable.runs WHERE workflow_name = 'never'")
        await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE status = 'cancelled'"))
        assert await rows(database, "SELECT wait_key FROM durable.waits WHERE wait_key = 'in time'") == []
        assert child


async def test_the_time_goes_on_while_no_worker_runs(database: str) -> None:
    async with AsyncClient(database) as client:
        async with Worker(database, [waits]):
            run = await client.begin(waits, 3600)
            await until_status(run, "waiting_event")
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            # An hour passes.
            await connection.execute("UPDATE durable.waits SET wake_at = now() WHERE wait_key = 'limit'")
            await connection.execute("UPDATE durable.runs SET next_wake_at = now() WHERE status = 'waiting_event'")
        async with Worker(database, [waits]):
            assert await run.result(timeout=20) == "nothing came"


async def test_what_comes_in_time_gives_the_limit_up_on_another_worker_too(database: str) -> None:
    async with AsyncClient(database) as client:
        async with Worker(database, [waits]):
            run = await client.begin(waits, 3600)
            await until_status(run, "waiting_event")
        await run.publish_event("news", "good")
        async with Worker(database, [waits]):
            assert await run.result(timeout=20) == "good"
    assert await rows(database, "SELECT wait_key FROM durable.waits WHERE satisfied_at IS NULL") == []


async def test_a_cancelled_run_is_not_told_that_its_time_is_over(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [waits]):
        run = await client.begin(waits, 3600)
        await until_status(run, "waiting_event")
        await run.cancel("enough")
        with pytest.raises(RunCancelled, match="enough"):
            await run.result(timeout=20)
    assert await rows(database, "SELECT step_key FROM durable.steps WHERE step_key = 'instead'") == []


async def test_another_attempt_of_the_run_has_the_whole_time_again(database: str) -> None:
    attempts: list[int] = []

    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def strict(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        async with ctx.timeout("limit", 0.2 if ctx.attempt < 3 else 3600):
            await ctx.sleep("nap", 0.4)
        return "in time"

    async with AsyncClient(database) as client, Worker(database, [strict]):
        assert await (await client.begin(strict)).result(timeout=20) == "in time"
    assert sorted(set(attempts)) == [1, 2, 3]


async def test_a_run_that_fails_of_its_limit_says_which_it_was(database: str) -> None:
    @workflow
    async def strict(ctx: Context) -> Any:
        async with ctx.timeout("the whole order", 0.1):
            return await ctx.wait_for_event("wait", "never")

    async with AsyncClient(database) as client, Worker(database, [strict]):
        with pytest.raises(RunFailed, match=r"TimeoutError: timeout 'the whole order' of 0\.1 s is over"):
            await (await client.begin(strict)).result(timeout=20)
