"""Changing the time at which a run goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Call,
    Client,
    Context,
    InvalidArgument,
    RetryPolicy,
    RunNotFound,
    RunNotReschedulable,
    RunRetryPolicy,
    Worker,
    exponential,
    workflow,
)
from tests.watching import until
from tests.worker.run.notes import until_status

NOWHERE = "quick_0:01920000-0000-7000-8000-000000000000"
HOUR = timedelta(hours=1)


@workflow
async def quick(ctx: Context) -> str:
    return "done"


@workflow
async def sleeping(ctx: Context) -> str:
    await ctx.sleep("night", HOUR)
    return "woke"


async def test_a_delayed_run_starts_at_once_or_later_than_it_would_have(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [quick]):
        sooner, later = await client.begin(quick, delay=HOUR), await client.begin(quick, delay=HOUR)
        await later.reschedule(delay=2 * HOUR)
        await client.run_now(sooner.run_key)
        assert await sooner.result(timeout=10) == "done"

        async def is_later() -> bool:
            wake = (await later.info()).next_wake_at
            return wake is not None and wake - datetime.now(UTC) > 1.5 * HOUR

        await until(is_later)
        await later.reschedule(at=datetime(2020, 1, 1, tzinfo=UTC))
        assert await later.result(timeout=10) == "done"


async def test_a_queued_run_can_be_put_off(database: str) -> None:
    async with AsyncClient(database) as client:
        handle = await client.begin(quick)
        await handle.reschedule(delay=HOUR)
        async with Worker(database, [sleeping]):
            pass  # it has another workflow
        assert (await handle.info()).status == "queued"
        # Whoever claims it first wins: here it is put off before any worker looks for runs.
        await client.pause_workflow(quick)
        async with Worker(database, [quick]):
            await until_status(handle, "sleeping")
            await client.resume_workflow(quick)
            await handle.reschedule(delay=0)
            assert await handle.result(timeout=10) == "done"


async def test_back_offs_end_early_and_sleeps_only_if_that_is_asked_for(database: str) -> None:
    calls: list[int] = []

    async def stumble() -> str:
        calls.append(len(calls))
        if len(calls) == 1:
            raise ValueError("not yet")
        return "done"

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=exponential(3600, 3600)))
    async def retried(ctx: Context) -> str:
        if ctx.attempt == 1:
            raise ValueError("attempt")
        return "retried"

    @workflow
    async def tried(ctx: Context) -> str:
        return await ctx.execute(Call("s", retry=RetryPolicy(backoff=exponential(3600, 3600))), stumble)

    async with AsyncClient(database) as client, Worker(database, [retried, tried, sleeping]):
        handles: list[Any] = [await client.begin(one) for one in (retried, tried, sleeping)]
        for handle in handles:
            await until_status(handle, "sleeping")
            await client.run_now(handle.run_key)
        assert await handles[0].result(timeout=10) == "retried"
        assert await handles[1].result(timeout=10) == "done"
        assert calls == [0, 1]
        assert (await handles[2].info()).status == "sleeping"
        await client.run_now(handles[2].run_key, sleeps=True)
        assert await handles[2].result(timeout=10) == "woke"


async def test_another_wait_of_the_run_keeps_its_time(database: str) -> None:
    async def fail() -> None:
        raise ValueError("always")

    @workflow
    async def both(ctx: Context) -> str:
        async with ctx.timeout("limit", 2 * HOUR):
            await ctx.execute(Call("s", retry=RetryPolicy(backoff=exponential(3600, 3600))), fail)
        return "never"

    async with AsyncClient(database) as client, Worker(database, [both]):
        handle = await client.begin(both)
        await until_status(handle, "sleeping")
        await handle.reschedule(delay=3 * HOUR)

        async def wakes_by_the_limit() -> bool:
            wake = (await handle.info()).next_wake_at
            return wake is not None and 1.9 * HOUR < wake - datetime.now(UTC) < 2.1 * HOUR

        await until(wakes_by_the_limit)


async def test_a_paused_run_keeps_the_new_time(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [quick]):
        handle = await client.begin(quick, delay=HOUR)
        await handle.pause()
        await until_status(handle, "paused")
        await handle.reschedule(delay=0)
        await handle.resume()
        assert await handle.result(timeout=10) == "done"


async def test_what_has_no_time_to_be_changed_is_refused_or_logged(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow
    async def waiting(ctx: Context) -> str:
        return await ctx.wait_for_event("wait", "go", str)

    async with AsyncClient(database) as client, Worker(database, [quick, waiting]):
        ended = await client.begin(quick)
        await ended.result(timeout=10)
        with pytest.raises(RunNotReschedulable, match="'completed'"):
            await client.run_now(ended.run_key)
        with pytest.raises(RunNotFound):
            await client.run_now(NOWHERE)
        handle = await client.begin(waiting)
        await until_status(handle, "waiting_event")
        await client.run_now(handle.run_key)
        await until(lambda: "has no time that could be changed" in caplog.text)
        assert (await handle.info()).status == "waiting_event"
        await handle.publish_event("go", "x")
        assert await handle.result(timeout=10) == "x"


def test_it_is_requested_in_the_transaction_of_an_application(database: str) -> None:
    with Client(database) as client, psycopg.connect(database) as tx:
        handle = client.begin(quick, delay=3600)
        client.reschedule_run_tx(tx, handle.run_key, delay=1)
        tx.rollback()
        assert tx.execute("SELECT count(*) FROM durable.events").fetchone() == (0,)
        client.run_now_tx(tx, handle.run_key)
        tx.commit()
        assert tx.execute("SELECT name FROM durable.events").fetchall() == [("in:0",)]


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"at": datetime.now(UTC), "delay": 1},
        {"at": datetime(2026, 1, 1)},
        {"delay": -1},
        {"delay": float("nan")},
        {"delay": 1, "sleeps": "yes"},
    ],
)
def test_a_time_that_is_none_is_refused(database: str, when: dict[str, Any]) -> None:
    with Client(database) as client:
        handle = client.begin(quick, delay=3600)
        with pytest.raises(InvalidArgument):
            client.reschedule_run(handle.run_key, **when)
        with psycopg.connect(database) as look:
            assert look.execute("SELECT count(*) FROM durable.events").fetchone() == (0,)
