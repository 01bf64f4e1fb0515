"""Who parked a run remembers when it wakes; the others, that look for themselves once a minute, are told in time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import sql

from durable import AsyncClient, Client, Context, Worker, Workflow, workflow
from durable.store.channels import work_channel
from tests.worker.processes import WorkerProcess, napping, prepare, until

SELDOM = 60.0
IN_TIME = 20.0


async def answer(dsn: str, question: Any) -> Any:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        row = await (await connection.execute(question)).fetchone()
        return row[0] if row else None


async def reached(dsn: str, status: str) -> None:
    async with asyncio.timeout(IN_TIME):
        while await answer(dsn, "SELECT status FROM durable.runs") != status:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def two_workers(dsn: str, wf: Workflow[Any, Any], **options: Any) -> AsyncIterator[list[Worker]]:
    workers = [Worker(dsn, [wf], poll_interval=SELDOM, **options) for _ in range(2)]
    async with workers[0], workers[1]:
        async with asyncio.timeout(IN_TIME):
            while not all(worker.status().is_listening for worker in workers):
                await asyncio.sleep(0.01)
        yield workers


async def owner(dsn: str, workers: list[Worker]) -> Worker:
    worker_id = str(await answer(dsn, "SELECT worker_id FROM durable.runs WHERE worker_id IS NOT NULL"))
    (found,) = (worker for worker in workers if worker.status().worker_id == worker_id)
    return found


async def test_a_stopping_worker_tells_the_others_what_sleeps(database: str) -> None:
    begun, proceed = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        begun.set()
        await proceed.wait()

    @workflow
    async def holding(ctx: Context) -> None:
        await ctx.execute("hold", hold)
        await ctx.sleep("nap", 2.0)

    async with AsyncClient(database) as client, two_workers(database, holding) as workers:
        handle = await client.begin(holding)
        await asyncio.wait_for(begun.wait(), IN_TIME)
        leaving = await owner(database, workers)
        proceed.set()
        await reached(database, "sleeping")
        leaving.stop()
        await handle.result(timeout=IN_TIME)


async def test_what_goes_to_sleep_while_its_worker_stops_wakes_before_it_has_gone(database: str) -> None:
    begun, proceed, blocked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hold(what: str) -> None:
        if what == "short":
            begun.set()
            await proceed.wait()
        else:
            blocked.set()
            await asyncio.sleep(600)

    @workflow
    async def holding(ctx: Context, what: str) -> None:
        await ctx.execute("hold", hold, what)
        await ctx.sleep("nap", 1.0)

    async with (
        AsyncClient(database) as client,
        two_workers(database, holding, graceful_shutdown_timeout=5) as workers,
    ):
        handle = await client.begin(holding, "short")
        await asyncio.wait_for(begun.wait(), IN_TIME)
        leaving = await owner(database, workers)
        (staying,) = (worker for worker in workers if worker is not leaving)
        while leaving.status().active_runs < 2:  # until it holds a run that makes it stay for the grace it has
            blocked.clear()
            long = await client.begin(holding, "long")
            await asyncio.wait_for(blocked.wait(), IN_TIME)
            if leaving.status().active_runs < 2:
                await client.terminate_run(long.run_key)
        leaving.stop()
        proceed.set()
        await handle.result(timeout=IN_TIME)
        assert leaving.status().state == "stopping"
        assert staying.ready()
        await client.terminate_run(long.run_key)


def test_the_sleepers_of_a_killed_worker_wake_elsewhere(database: str) -> None:
    prepare(database)
    with (
        Client(database) as client,
        WorkerProcess(database, poll=SELDOM) as one,
        WorkerProcess(database, poll=SELDOM) as other,
        psycopg.connect(database, autocommit=True) as connection,
    ):
        until(lambda: connection.execute("SELECT count(*) FROM durable.workers").fetchone() == (2,))
        handle = client.begin(napping, 4.0)
        until(lambda: handle.info().status == "sleeping")
        (process_id,) = connection.execute("SELECT process_id FROM journal").fetchone() or (0,)
        victim = one if one.process.pid == process_id else other
        victim.signal(signal.SIGKILL)
        handle.result(timeout=IN_TIME)


async def test_a_worker_without_a_free_place_tells_the_others_of_what_is_due(database: str) -> None:
    blocked = asyncio.Event()

    async def block() -> None:
        blocked.set()
        await asyncio.sleep(600)

    @workflow(concurrency=1)
    async def crowding(ctx: Context, nap: float) -> None:
        await ctx.sleep("nap", nap)
        await ctx.execute("block", block)

    async with (
        AsyncClient(database) as client,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as others,
        Worker(database, [crowding], graceful_shutdown_timeout=0),
    ):
        for nap in (0.5, 2.0):
            await client.begin(crowding, nap)
        await asyncio.wait_for(blocked.wait(), IN_TIME)
        await others.execute(sql.SQL("LISTEN {}").format(sql.Identifier(work_channel("durable"))))
        notices = others.notifies(timeout=IN_TIME, stop_after=1)
        assert [notice.payload async for notice in notices] == ["run:crowding_0"]
