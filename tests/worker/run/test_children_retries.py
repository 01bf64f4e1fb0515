"""What becomes of children when their parent is tried again, and the other way round."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from durable import (
    AsyncClient,
    AsyncHandle,
    Context,
    RunCancelled,
    RunFailed,
    RunKey,
    RunRetryPolicy,
    StepFailed,
    Terminal,
    Worker,
    Workflow,
    workflow,
)
from tests.worker.run.family import (
    children_of,
    linger,
    only_child,
    query,
    until,
    until_status,
)


def counted(fails: int) -> tuple[Workflow[str, int], list[str]]:
    """A workflow that fails at first, and whom it ran for."""
    calls: list[str] = []

    @workflow
    async def flaky(ctx: Context, name: str) -> int:
        calls.append(name)
        if name == "bad" and calls.count(name) <= fails:
            raise Terminal("not yet")
        return len(name)

    return flaky, calls


@pytest.mark.parametrize("is_asked_for", [True, False])
async def test_a_retry_begins_failed_children_anew_and_keeps_the_others(database: str, *, is_asked_for: bool) -> None:
    flaky, calls = counted(2)
    policy = RunRetryPolicy() if is_asked_for else RunRetryPolicy(max_attempts=3)

    @workflow(retry=policy)
    async def parent(ctx: Context) -> list[Any]:
        good = await ctx.run_child("good", flaky, "good")
        bad = await ctx.start_child("bad", flaky, "bad")
        drawn = await ctx.random("between")
        return [good, drawn, await bad.result()]

    async with AsyncClient(database) as client, Worker(database, [parent, flaky]):
        handle = await client.begin(parent)
        for _ in range(2 if is_asked_for else 0):
            with pytest.raises(RunFailed, match="not yet"):
                await handle.result(timeout=20)
            await handle.retry()
            await until(lambda: _has_left(handle, "failed"))
        good, _, bad = await handle.result(timeout=20)
        assert (good, bad) == (4, 3)
        assert sorted(calls) == ["bad", "bad", "bad", "good"]
        assert sorted(status for _, status in await children_of(database, handle)) == 2 * ["completed"] + 2 * ["failed"]


async def _has_left(handle: AsyncHandle[Any], status: str) -> bool:
    return (await handle.info()).status != status


@pytest.mark.parametrize("end", ["failed", "completed"])
async def test_a_retry_begins_a_child_anew_whose_failure_nobody_has_seen_and_keeps_its_success(
    database: str, end: str
) -> None:
    flaky, calls = counted(1 if end == "failed" else 0)
    failing = [True]

    @workflow
    async def parent(ctx: Context) -> int:
        child = await ctx.start_child("child", flaky, "bad")
        await ctx.wait_for_event("wait", "go")
        if failing:
            raise ValueError("for another reason")
        return await child.result()

    async with AsyncClient(database) as client, Worker(database, [parent, flaky]):
        handle = await client.begin(parent)
        await only_child(database, handle, end)
        await handle.publish_event("go")
        with pytest.raises(RunFailed, match="for another reason"):
            await handle.result(timeout=20)
        failing.clear()
        await handle.retry()
        await until(lambda: _has_left(handle, "failed"))
        assert await handle.result(timeout=20) == 3
    assert calls == (["bad", "bad"] if end == "failed" else ["bad"])


async def test_a_retry_of_a_cancelled_parent_begins_the_cancelled_child_anew(database: str) -> None:
    @workflow
    async def impatient(ctx: Context) -> str:
        return await ctx.run_child("child", linger, abandon=True)

    async with AsyncClient(database) as client, Worker(database, [impatient]):
        handle = await client.begin(impatient)
        first = await only_child(database, handle, "queued")
        await until_status(handle, "waiting_event")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
        await handle.retry()  # nobody has looked at the child yet

        async def second() -> RunKey | None:
            return next((key for key, _ in await children_of(database, handle) if key != first), None)

        child = await until(second)
        async with Worker(database, [linger]):
            await client.publish_event(child, "go", "on")
            assert await handle.result(timeout=20) == "on"
            with pytest.raises(RunCancelled):
                await client.handle(first, linger).result(timeout=20)
    assert await query(database, "SELECT 1 FROM durable.events WHERE kind = 'child' AND consumed_by IS NULL") == []


async def test_of_a_retried_child_the_parent_sees_the_last_end(database: str) -> None:
    flaky, _ = counted(1)

    @workflow
    async def parent(ctx: Context) -> int:
        child = await ctx.start_child("child", flaky, "bad")
        await ctx.wait_for_event("wait", "go")
        return await child.result()

    async with AsyncClient(database) as client, Worker(database, [parent, flaky]):
        handle = await client.begin(parent)
        child = await only_child(database, handle, "failed")
        await client.retry_run(child)
        await only_child(database, handle, "completed")
        await handle.publish_event("go")
        assert await handle.result(timeout=20) == 3


async def test_a_child_that_was_kept_by_one_retry_is_begun_anew_by_the_next(database: str) -> None:
    attempts: list[int] = []

    async def shaky() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise Terminal("the first time")

    @workflow
    async def second_time_lucky(ctx: Context) -> str:
        word = str(await ctx.wait_for_event("wait", "go", str))
        if word == "fail":
            raise ValueError(word)
        return word

    @workflow(retry=RunRetryPolicy(max_attempts=3))
    async def parent(ctx: Context) -> str:
        with suppress(StepFailed):
            await ctx.execute("shaky", shaky)
        child = await ctx.start_child("child", second_time_lucky)
        if ctx.attempt == 1:
            raise ValueError("after the child was begun")
        await ctx.random("between")
        return await child.result()

    async with AsyncClient(database) as client, Worker(database, [parent, second_time_lucky]):
        handle = await client.begin(parent)
        for number, word in enumerate(["fail", "succeed"], 1):

            async def has_child(number: int = number) -> bool:
                return len(await children_of(database, handle)) == number

            await until(has_child)
            await until_status(handle, "waiting_event")
            await client.publish_event((await children_of(database, handle))[-1][0], "go", word)
        assert await handle.result(timeout=20) == "succeed"
    assert len(attempts) == 2
