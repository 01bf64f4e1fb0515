"""What must hold of asyncio's timers wherever the database is: checks that take a conninfo."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from durable import AsyncClient, Call, Context, RetryPolicy, RunCancelled, RunFailed, RunRetryPolicy, Worker, workflow
from tests.watching import reached, rows, until

HOUR = 3600.0
ONCE = RetryPolicy(max_retries=0)

failures: list[str] = []
"""The runs whose next step fails."""


async def work(what: str) -> str:
    return what


async def fails_once(run_id: str) -> str:
    if run_id not in failures:
        failures.append(run_id)
        raise ConnectionError("once")
    return "worked"


@workflow
async def waiting_child(ctx: Context) -> str:
    async with asyncio.timeout(HOUR):
        return await ctx.wait_for_event("wait", "go", str)


@workflow
async def limits_a_child(ctx: Context) -> str:
    try:
        return await asyncio.wait_for(ctx.run_child("child", waiting_child), 0.3)
    except TimeoutError:
        await asyncio.sleep(0.05)
        return "too late"


@workflow
async def cleans_up(ctx: Context) -> None:
    try:
        await asyncio.sleep(HOUR)
    finally:
        await asyncio.sleep(0.05)
        async with asyncio.timeout(HOUR):
            await ctx.execute("clean up", work, "cleaned up")


@workflow(timeout=0.4)
async def has_a_deadline(ctx: Context) -> None:
    try:
        async with asyncio.timeout(HOUR):
            await asyncio.sleep(HOUR)
    finally:
        await asyncio.sleep(0.05)
        await ctx.execute("clean up", work, "cleaned up")


async def fragile(ctx: Context) -> str:
    await asyncio.sleep(0.05)
    try:
        await ctx.execute(Call("fragile", retry=ONCE), fails_once, ctx.run_id)
    except Exception:
        await asyncio.sleep(0.05)  # timer 2 of the first attempt
        raise
    async with asyncio.timeout(HOUR):  # timer 2 of the second
        return await ctx.wait_for_event("wait", "go", str)


retried_when_asked = workflow(name="retried_when_asked")(fragile)
retried_by_policy = workflow(name="retried_by_policy", retry=RunRetryPolicy(max_attempts=2, backoff=0.05))(fragile)


@workflow
async def limits_many_waits(ctx: Context) -> list[str]:
    found: list[str] = []
    try:
        async with asyncio.timeout(HOUR):
            while True:
                found.append(await ctx.wait_for_event(f"wait {len(found)}", "go", str))
    except TimeoutError:
        return found


WORKFLOWS = [
    waiting_child,
    limits_a_child,
    cleans_up,
    has_a_deadline,
    retried_when_asked,
    retried_by_policy,
    limits_many_waits,
]


async def timers(dsn: str, run_id: str) -> list[tuple[Any, ...]]:
    """The number of each timer that is stored, and whether it has fired."""
    return await rows(
        dsn,
        "SELECT split_part(wait_key, ':', 3)::int, satisfied_at IS NOT NULL FROM durable.waits"
        " WHERE wait_type = 'timer' AND run_id = %s ORDER BY 1",
        run_id,
    )


async def a_child_that_takes_too_long_is_cancelled(dsn: str) -> None:
    async with AsyncClient(dsn) as client, Worker(dsn, WORKFLOWS, poll_interval=0.05):
        handle = await client.begin(limits_a_child)
        assert await handle.result(timeout=30) == "too late"
        assert await timers(dsn, handle.run_key.run_id) == [(1, True), (2, True)]
        (child,) = await client.list_runs(workflow=waiting_child)
        await reached(client, child.run_key, "cancelled")
        assert await timers(dsn, child.run_key.run_id) == []


async def a_cancel_drops_the_timers_and_the_clean_up_has_its_own(dsn: str) -> None:
    async with AsyncClient(dsn) as client, Worker(dsn, WORKFLOWS, poll_interval=0.05):
        handle = await client.begin(cleans_up)
        await reached(client, handle.run_key, "sleeping")
        await handle.cancel("enough")
        with pytest.raises(RunCancelled, match="enough"):
            await handle.result(timeout=30)
        assert await timers(dsn, handle.run_key.run_id) == [(2, True)]


async def a_deadline_ends_a_sleep_after_its_clean_up(dsn: str) -> None:
    async with AsyncClient(dsn) as client, Worker(dsn, WORKFLOWS, poll_interval=0.05):
        handle = await client.begin(has_a_deadline)
        with pytest.raises(RunFailed, match="RunTimeout"):
            await handle.result(timeout=30)
        assert await timers(dsn, handle.run_key.run_id) == [(3, True)]
        steps = "SELECT step_key FROM durable.steps WHERE run_id = %s AND step_key <> ''"
        assert ("clean up",) in await rows(dsn, steps, handle.run_key.run_id)


async def _an_attempt_after_a_failure_arms_its_own_timers(dsn: str, *, asked: bool) -> None:
    wf = retried_when_asked if asked else retried_by_policy
    async with AsyncClient(dsn) as client, Worker(dsn, WORKFLOWS, poll_interval=0.05):
        handle = await client.begin(wf)
        if asked:
            with pytest.raises(RunFailed, match="once"):
                await handle.result(timeout=30)
            await handle.retry()
        await reached(client, handle.run_key, "waiting_event")
        # The first one slept before the failure and is kept; the second one is another than in the first attempt.
        assert await timers(dsn, handle.run_key.run_id) == [(1, True), (2, False)]
        await handle.publish_event("go", "in time")
        assert await handle.result(timeout=30) == "in time"


async def a_retry_that_is_asked_for_arms_its_own_timers(dsn: str) -> None:
    await _an_attempt_after_a_failure_arms_its_own_timers(dsn, asked=True)


async def a_retry_by_the_policy_arms_its_own_timers(dsn: str) -> None:
    await _an_attempt_after_a_failure_arms_its_own_timers(dsn, asked=False)


async def an_hour_passes(dsn: str) -> None:
    """For the database alone."""
    await rows(dsn, "UPDATE durable.waits SET wake_at = wake_at - interval '1 h'")
    await rows(dsn, "UPDATE durable.runs SET next_wake_at = next_wake_at - interval '1 h'")


async def a_replay_does_not_prolong_a_timer(dsn: str) -> None:
    due = "SELECT run_id, wake_at FROM durable.waits WHERE wait_type = 'timer' ORDER BY run_id"
    async with AsyncClient(dsn) as client, Worker(dsn, WORKFLOWS, poll_interval=0.05, max_resident=1):
        handles = [await client.begin(limits_many_waits) for _ in range(3)]
        seen: list[Any] = []
        for taken in range(3):
            for handle in handles:
                await until(lambda run_id=handle.run_key.run_id: _waits_again(dsn, run_id, taken))  # noqa: B023
            seen.append(await rows(dsn, due))
            if taken < 2:
                for handle in handles:
                    await handle.publish_event("go", "more")
        assert seen[0] == seen[1] == seen[2]
        await an_hour_passes(dsn)
        for handle in handles:
            assert await handle.result(timeout=30) == ["more", "more"]


async def _waits_again(dsn: str, run_id: str, taken: int) -> bool:
    """Whether it has taken that many events and is parked."""
    waits = (
        "SELECT run.status, count(wait.satisfied_at)::int FROM durable.runs AS run JOIN durable.waits AS wait"
        " USING (workflow_name_shard, run_id) WHERE run_id = %s GROUP BY run.status"
    )
    return await rows(dsn, waits, run_id) == [("waiting_event", taken)]


CHECKS: list[Callable[[str], Awaitable[None]]] = [
    a_child_that_takes_too_long_is_cancelled,
    a_cancel_drops_the_timers_and_the_clean_up_has_its_own,
    a_deadline_ends_a_sleep_after_its_clean_up,
    a_retry_that_is_asked_for_arms_its_own_timers,
    a_retry_by_the_policy_arms_its_own_timers,
    a_replay_does_not_prolong_a_timer,
]
