"""``ctx.saga`` on workers: cancels, crashes of compensations, retries of the run, and what these believe in."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from durable import (
    AsyncClient,
    Call,
    Context,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    RunRetryPolicy,
    Worker,
    current_step,
    workflow,
)
from tests.watching import rows, until
from tests.worker.run.notes import Notes, until_status

NEVER_AGAIN = RetryPolicy(max_retries=0)


async def test_a_failed_run_has_undone_what_it_did_on_whatever_worker(database: str) -> None:
    notes = Notes()

    async def refuse() -> None:
        raise ValueError("no seats")

    @workflow
    async def trip(ctx: Context) -> None:
        async with ctx.saga() as saga:
            for name in ("hotel", "car"):
                saga.undo(name, notes.note, f"undo {await ctx.execute(name, notes.note, name)}")
            await ctx.sleep("nap", 0.05)
            await ctx.execute(Call("flight", retry=NEVER_AGAIN), refuse)

    async with AsyncClient(database) as client, Worker(database, [trip], max_resident=1):
        run = await client.begin(trip)
        with pytest.raises(RunFailed, match="no seats"):
            await run.result(timeout=20)
    assert notes == ["hotel", "car", "undo car", "undo hotel"]
    found = await rows(database, "SELECT step_key, kind, fn FROM durable.steps WHERE kind = 'undo' ORDER BY seq")
    assert found == [("car:undo", "undo", "Notes.note"), ("hotel:undo", "undo", "Notes.note")]


@pytest.mark.parametrize("how", ["cancel", "terminate", "deadline"])
async def test_a_cancelled_run_undoes_and_a_terminated_one_does_not(database: str, how: str) -> None:
    notes = Notes()

    @workflow(timeout=0.4 if how == "deadline" else None)
    async def trip(ctx: Context) -> None:
        async with ctx.saga() as saga:
            saga.undo("hotel", notes.note, "undo hotel")
            await ctx.execute("hotel", notes.note, "hotel")
            await ctx.wait_for_event("wait", "never")

    async with AsyncClient(database) as client:
        async with Worker(database, [trip]):
            run = await client.begin(trip)
            await until_status(run, "waiting_event", "failed")
        if how == "cancel":
            await run.cancel("enough")
        elif how == "terminate":
            await client.terminate_run(run.run_key, "enough")
        async with Worker(database, [trip]):
            with pytest.raises((RunCancelled, RunFailed)):
                await run.result(timeout=20)
    assert notes == (["hotel"] if how == "terminate" else ["hotel", "undo hotel"])


async def test_a_compensation_that_a_crash_interrupted_is_called_again_and_the_others_are_not(database: str) -> None:
    notes, hangs = Notes(), asyncio.Event()

    async def unbook(name: str) -> None:
        await notes.note(f"undo {name}")
        if name == "hotel" and not hangs.is_set():
            await asyncio.sleep(3600)

    @workflow
    async def trip(ctx: Context) -> None:
        async with ctx.saga() as saga:
            for name in ("hotel", "car"):
                saga.undo(name, unbook, name)
                await ctx.execute(name, notes.note, name)
            raise ValueError("no")

    async with AsyncClient(database) as client:
        async with Worker(database, [trip], graceful_shutdown_timeout=0.1):
            run = await client.begin(trip)
            await notes.until("undo hotel")
        hangs.set()
        async with Worker(database, [trip]):
            with pytest.raises(RunFailed, match="no"):
                await run.result(timeout=20)
    assert Counter(notes) == {"hotel": 1, "car": 1, "undo car": 1, "undo hotel": 2}


@pytest.mark.parametrize("asked", [False, True])
async def test_a_retry_of_the_run_does_again_what_was_undone_and_keeps_what_was_not(
    database: str, *, asked: bool
) -> None:
    """Otherwise it would go on with a booking that it has given back."""
    notes, tries = Notes(), 0

    async def fly() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("no seats")
        return await notes.note("flight")

    @workflow(retry=RunRetryPolicy(max_attempts=1 if asked else 2, backoff=0))
    async def trip(ctx: Context) -> list[str]:
        before = await ctx.execute("before", notes.note, "before")
        async with ctx.saga() as saga:
            saga.undo("hotel", notes.note, "undo hotel")
            hotel = await ctx.execute("hotel", notes.note, "hotel")
            price = await ctx.execute("price", notes.note, "price")
            return [before, hotel, price, await ctx.execute(Call("flight", retry=NEVER_AGAIN), fly)]
        return []

    async with AsyncClient(database) as client, Worker(database, [trip]):
        run = await client.begin(trip)
        if asked:
            await until_status(run, "failed")
            await client.retry_run(run.run_key)
        await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE status = 'completed'"))
        assert await run.result(timeout=20) == ["before", "hotel", "price", "flight"]
    assert notes == ["before", "hotel", "price", "undo hotel", "hotel", "flight"]
    assert await rows(database, "SELECT step_key FROM durable.steps WHERE kind = 'undo'") == []


async def test_a_step_whose_compensation_failed_is_kept_by_a_retry_and_the_compensation_tried_again(
    database: str,
) -> None:
    calls = Counter[str]()

    async def book() -> None:
        calls["book"] += 1

    async def unbook() -> None:
        calls["unbook"] += 1
        if calls["unbook"] == 1:
            raise OSError("not reachable")

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
    async def trip(ctx: Context) -> None:
        async with ctx.saga() as saga:
            saga.undo(Call("hotel", retry=NEVER_AGAIN), unbook)
            await ctx.execute("hotel", book)
            raise ValueError("no")

    async with AsyncClient(database) as client, Worker(database, [trip]):
        with pytest.raises(RunFailed, match="no"):
            await (await client.begin(trip)).result(timeout=20)
    assert calls == {"book": 1, "unbook": 2}


async def test_children_and_transactions_that_were_undone_are_begun_again(database: str) -> None:
    notes = Notes()

    @workflow
    async def ship(ctx: Context) -> str:
        return await ctx.execute("ship", notes.note, "ship")

    async def pay(tx: Any) -> str:
        return await notes.note("pay")

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
    async def order(ctx: Context) -> list[str]:
        async with ctx.saga() as saga:
            saga.undo("pay", notes.note, "undo pay")
            paid = await ctx.transaction("pay", pay)
            saga.undo("ship", notes.note, "undo ship")
            shipped = await ctx.run_child("ship", ship)
            if ctx.attempt == 1:
                raise ValueError("no")
            return [paid, shipped]
        return []

    async with AsyncClient(database) as client, Worker(database, [order, ship]):
        assert await (await client.begin(order)).result(timeout=20) == ["pay", "ship"]
    assert notes == ["pay", "ship", "undo ship", "undo pay", "pay", "ship"]
    assert await rows(database, "SELECT count(*) FROM durable.runs WHERE workflow_name = 'ship'") == [(2,)]


async def test_a_compensation_that_fails_is_tried_again_while_the_run_sleeps(database: str) -> None:
    tries: list[int] = []

    async def unbook() -> None:
        tries.append(current_step().attempt)
        if len(tries) < 2:
            raise OSError("not reachable")

    @workflow
    async def trip(ctx: Context) -> None:
        async with ctx.saga() as saga:
            saga.undo(Call("hotel", retry=RetryPolicy(backoff=1.5)), unbook)
            raise ValueError("no")

    async with AsyncClient(database) as client:
        async with Worker(database, [trip]):
            run = await client.begin(trip)
            await until_status(run, "sleeping")
        async with Worker(database, [trip]):
            with pytest.raises(RunFailed, match="no"):
                await run.result(timeout=20)
    assert tries == [1, 2]
