"""The ancestor's scenarios 5, 6, 33, 43 and 46: workers that run, with and without notifications."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

import psycopg
import pytest

from durable import AsyncClient, Context, Worker, workflow
from durable.admin.migrate import migrate
from tests.watching import reached, rows, until
from tests.worker.flows import awaiting, greeting


async def test_05_a_notification_wakes_a_worker_long_before_its_poll(database: str) -> None:
    calls: Counter[str] = Counter()
    event = awaiting(calls)
    worker = Worker(database, [event], poll_interval=30)
    async with AsyncClient(database) as client, worker:
        await until(lambda: worker.status().is_listening)
        began = time.monotonic()
        handle = await client.begin(event, "approval")
        await reached(client, handle.run_key, "waiting_event")
        await handle.publish("approval", "approved!")
        assert await handle.result(timeout=15) == "approved!"
        assert time.monotonic() - began < 15
    assert calls == {"before": 1, "after": 1}


async def test_06_without_notifications_the_poll_makes_progress(database: str) -> None:
    calls: Counter[str] = Counter()
    event = awaiting(calls)
    async with AsyncClient(database) as client, Worker(database, [event], poll_interval=0.05, notify=False) as worker:
        handle = await client.begin(event, "approval")
        await reached(client, handle.run_key, "waiting_event")
        await handle.publish("approval", "approved!")
        assert await handle.result(timeout=15) == "approved!"
        assert not worker.status().is_listening
    assert calls == {"before": 1, "after": 1}


async def test_33_a_worker_survives_the_loss_of_its_schema(
    bare_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    simple = greeting(Counter())
    migrate(bare_database)
    async with Worker(bare_database, [simple], poll_interval=0.05, notify=False) as worker:
        async with AsyncClient(bare_database) as client:
            assert await (await client.begin(simple, "before")).result(timeout=10) == "Hello, before!"
        await rows(bare_database, "DROP SCHEMA durable CASCADE")
        await until(lambda: "claiming runs of simple_0 failed" in caplog.text)
        assert worker.ready()

        migrate(bare_database)
        async with AsyncClient(bare_database) as client:
            assert await (await client.begin(simple, "after")).result(timeout=20) == "Hello, after!"
            await until(worker.healthy)


async def test_43_one_transaction_wakes_the_dispatchers_of_all_its_workflows(database: str) -> None:
    simple, event = greeting(Counter()), awaiting(Counter())
    worker = Worker(database, [simple, event], poll_interval=30)
    async with AsyncClient(database) as client, worker:
        await until(lambda: worker.status().is_listening)
        async with await psycopg.AsyncConnection.connect(database) as tx:
            first = await client.begin_tx(tx, simple, "World")
            second = await client.begin_tx(tx, event, "go")
            await client.publish_event_tx(tx, second, "go", "went")
        assert await client.handle(first, simple).result(timeout=15) == "Hello, World!"
        assert await client.handle(second, event).result(timeout=15) == "went"


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_46_a_stopping_worker_completes_the_run_whose_step_is_in_flight(database: str, how: str) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        started.set()
        await finish.wait()
        return "finished"

    @workflow
    async def stopping(ctx: Context) -> str:
        return await ctx.execute("slow", slow)

    worker = Worker(database, [stopping], graceful_shutdown_timeout=10)
    task = asyncio.create_task(worker.run())
    async with AsyncClient(database) as client:
        handle = await client.begin(stopping)
        await started.wait()
        worker.stop() if how == "stop" else task.cancel()
        await until(lambda: not worker.ready())
        finish.set()
        async with asyncio.timeout(8):
            await asyncio.wait({task})
        assert await handle.result(timeout=0) == "finished"
        assert (await handle.status()).takeovers == 0


async def test_46_a_stopping_worker_starts_no_further_step(database: str) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    calls: list[str] = []

    async def step(name: str) -> str:
        calls.append(name)
        started.set()
        await finish.wait()
        return name

    @workflow
    async def two(ctx: Context) -> list[str]:
        return [await ctx.execute(name, step, name) for name in ("first", "second")]

    async with AsyncClient(database) as client:
        async with Worker(database, [two]) as worker:
            handle = await client.begin(two)
            await started.wait()
            worker.stop()
            await until(lambda: not worker.ready())
            finish.set()
        assert calls == ["first"]
        assert (await handle.status()).status == "queued"
        assert await Worker(database, [two]).process_one()
        assert await handle.result(timeout=0) == ["first", "second"]
    assert calls == ["first", "second"]
