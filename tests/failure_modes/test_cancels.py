"""Failure modes C6, C7: cancels that are swallowed, or meet the end of their run."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Call,
    Context,
    RetryPolicy,
    RunCancelled,
    RunNotCancellable,
    Worker,
    exponential,
    workflow,
)
from tests.watching import rows, until


async def hang() -> None:
    await asyncio.sleep(3600)


async def hang_tx(tx: psycopg.AsyncConnection[Any]) -> None:
    await tx.execute("SELECT pg_sleep(3600)")


POINTS = ["step", "between tries", "transaction", "sleep", "event", "event with timeout", "gather", "race"]


@workflow
async def cancelled_at(ctx: Context, point: str) -> str:
    try:
        await awaited(ctx, point)
    except asyncio.CancelledError:
        pass  # which must not undo the cancel
    return "swallowed"


async def awaited(ctx: Context, point: str) -> None:
    match point:
        case "step":
            await ctx.execute("step", hang)
        case "between tries":
            await ctx.execute(
                Call("tries", retry=RetryPolicy(max_retries=9, backoff=exponential(3600, 3600))), fail_always
            )
        case "transaction":
            await ctx.transaction("transaction", hang_tx)
        case "sleep":
            await ctx.sleep("nap", 3600)
        case "event":
            await ctx.wait_for_event("news", "news")
        case "event with timeout":
            await ctx.wait_for_event("news", "news", timeout=3600)
        case "gather":
            await asyncio.gather(ctx.execute("step", hang), ctx.sleep("nap", 3600), return_exceptions=True)
        case "race":
            waits = [ctx.sleep("nap", 3600), ctx.wait_for_event("news", "news")]
            await asyncio.wait([asyncio.ensure_future(wait) for wait in waits], return_when=asyncio.FIRST_COMPLETED)


async def fail_always() -> None:
    raise ConnectionError("again")


@pytest.mark.parametrize("resident", [1, 100], ids=["put away", "at hand"])
async def test_c6_a_cancel_at_any_await_ends_the_run_within_two_seconds_and_cannot_be_swallowed(
    database: str, resident: int
) -> None:
    async with AsyncClient(database) as client, Worker(database, [cancelled_at], max_resident=resident):
        handles = [await client.begin(cancelled_at, point) for point in POINTS]
        for handle, point in zip(handles, POINTS, strict=True):
            parks = point in ("sleep", "event", "event with timeout", "race", "between tries")
            is_at = ("sleeping", "waiting_event") if parks else ("running",)
            await until(partial(is_in, client, handle.run_key, is_at))
        for handle in handles:
            await handle.cancel()
        for handle in handles:
            with pytest.raises(RunCancelled):
                await handle.result(timeout=10)
    late = await rows(
        database,
        "SELECT run.input::text, run.completed_at - event.created_at FROM durable.runs AS run"
        " JOIN durable.events AS event USING (workflow_name_shard, run_id)"
        " WHERE run.completed_at - event.created_at > interval '2 s'",
    )
    assert late == []


async def is_in(client: AsyncClient, run_key: Any, statuses: tuple[str, ...]) -> bool:
    return (await client.get_run_info(run_key)).status in statuses


AUDIT = """
    -- Every change of the status into or out of an end.
    CREATE TABLE ends (run_id uuid, status text);
    CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO ends VALUES (new.run_id, new.status); RETURN NULL; END $$;
    CREATE TRIGGER note_end AFTER UPDATE ON durable.runs FOR EACH ROW
        WHEN (old.status <> new.status AND coalesce(old.completed_at, new.completed_at) IS NOT NULL)
        EXECUTE FUNCTION note_end();
"""


async def test_c7_a_run_that_is_cancelled_while_it_ends_ends_once_and_the_loser_is_told(database: str) -> None:
    chance = random.Random(7)
    many, early = 120, 30
    first_are_cancelled = asyncio.Event()

    async def brief(seconds: float) -> None:
        await first_are_cancelled.wait()
        await asyncio.sleep(seconds)

    @workflow(concurrency=many)
    async def ending(ctx: Context, way: str) -> str:
        await ctx.execute("brief", brief, chance.uniform(0, 0.3))
        if way == "fails":
            raise ValueError("failed")
        return "completed"

    async def cancel(client: AsyncClient, run_key: Any, number: int) -> bool:
        if number >= early:
            await first_are_cancelled.wait()
            await asyncio.sleep(chance.uniform(0, 0.5))
        try:
            await client.cancel_run(run_key)
        except RunNotCancellable:
            return False
        if number == early - 1:
            first_are_cancelled.set()
        return True

    async with AsyncClient(database) as client:
        await rows(database, AUDIT)
        async with Worker(database, [ending]), Worker(database, [ending]):
            run_keys = await client.begin_many(ending, ["completes", "fails"] * (many // 2))
            cancels = [cancel(client, run_key, number) for number, run_key in enumerate(run_keys)]
            accepted = await asyncio.gather(*cancels)
            await until(lambda: all_ended(database, many))
    ends = dict(await rows(database, "SELECT run_id::text, status FROM ends"))
    assert await rows(database, "SELECT count(*) FROM ends") == [(many,)]
    assert {"completed", "failed", "cancelled"} == set(ends.values())
    for run_key, was_accepted in zip(run_keys, accepted, strict=True):
        assert was_accepted or ends[run_key.run_id] != "cancelled"


async def all_ended(dsn: str, count: int) -> bool:
    return await rows(dsn, "SELECT count(DISTINCT run_id) FROM ends") == [(count,)]
