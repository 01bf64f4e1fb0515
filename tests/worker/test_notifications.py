"""Workers that run, with and without notifications."""

from __future__ import annotations

import time
from collections import Counter

import psycopg
from psycopg.conninfo import make_conninfo

from durable import AsyncClient, Worker
from durable.store.channels import work_channel
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
        await handle.publish_event("approval", "approved!")
        assert await handle.result(timeout=15) == "approved!"
        assert time.monotonic() - began < 15
    assert calls == {"before": 1, "after": 1}


async def test_06_without_notifications_the_poll_makes_progress(database: str) -> None:
    calls: Counter[str] = Counter()
    event = awaiting(calls)
    async with AsyncClient(database) as client, Worker(database, [event], poll_interval=0.05, notify=False) as worker:
        handle = await client.begin(event, "approval")
        await reached(client, handle.run_key, "waiting_event")
        await handle.publish_event("approval", "approved!")
        assert await handle.result(timeout=15) == "approved!"
        assert not worker.status().is_listening
    assert calls == {"before": 1, "after": 1}


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


LISTENERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'the worker' AND query LIKE 'LISTEN %%'"


async def test_work_of_the_time_without_a_listening_connection_is_found_after_the_reconnection(database: str) -> None:
    simple, event = greeting(Counter()), awaiting(Counter())
    worker = Worker(make_conninfo(database, application_name="the worker"), [simple, event], poll_interval=30)
    async with AsyncClient(database) as client, worker:
        waiting = await client.begin(event, "go")
        await reached(client, waiting.run_key, "waiting_event")
        (listener,) = await until(lambda: rows(database, LISTENERS))
        async with await psycopg.AsyncConnection.connect(database) as tx:
            run_key = await client.begin_tx(tx, simple, "World")
            await client.publish_event_tx(tx, waiting.run_key, "go", "went")
            await rows(database, "SELECT pg_terminate_backend(%s)", *listener)
            await until(lambda: not worker.status().is_listening)
        assert await client.handle(run_key, simple).result(timeout=20) == "Hello, World!"
        assert await waiting.result(timeout=20) == "went"
        await until(lambda: worker.status().is_listening)


async def test_a_channel_with_capitals_and_blanks_is_heard(database: str) -> None:
    simple = greeting(Counter())
    worker = Worker(database, [simple], poll_interval=30, notify_channel='My "Work" Channel')
    async with worker:
        await until(lambda: worker.status().is_listening)
        await rows(
            database,
            "WITH begun AS (INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input)"
            """ VALUES ('simple_0', gen_random_uuid(), 'simple', '"World"') RETURNING 1)"""
            """ SELECT pg_notify('My "Work" Channel', 'run:simple_0') FROM begun""",
        )

        async def is_completed() -> bool:
            return await rows(database, "SELECT status FROM durable.runs") == [("completed",)]

        await until(is_completed, 15)


async def test_what_is_rolled_back_leaves_nothing_and_is_not_announced(database: str) -> None:
    simple, event = greeting(Counter()), awaiting(Counter())
    async with AsyncClient(database) as client, await psycopg.AsyncConnection.connect(database) as tx:
        run_key = (await client.begin(event, "go")).run_key
        listener = await psycopg.AsyncConnection.connect(database, autocommit=True)
        await listener.execute(f"LISTEN {work_channel('durable')}".encode())
        await client.begin_tx(tx, simple, "World")
        await client.publish_event_tx(tx, run_key, "go", "went")
        await client.cancel_run_tx(tx, run_key)
        await client.terminate_run_tx(tx, run_key)
        await tx.rollback()
        await rows(database, "SELECT pg_notify(%s, 'the end')", work_channel("durable"))
        heard = [notice.payload async for notice in listener.notifies(timeout=10, stop_after=1)]
        await listener.close()
    assert heard == ["the end"]
    assert await rows(database, "SELECT workflow_name FROM durable.runs") == [("event",)]
    assert await rows(database, "SELECT * FROM durable.events") == []


async def test_a_flood_of_announcements_costs_a_few_looks_and_invented_shard_values_none(database: str) -> None:
    simple = greeting(Counter())
    async with AsyncClient(database) as client, Worker(database, [simple], poll_interval=3600) as worker:
        await until(lambda: worker.status().is_listening)
        dispatcher = worker._dispatchers["simple"]
        looked: Counter[str] = Counter()
        visit = dispatcher._visit

        async def counted(shard_value: str, **options: int) -> bool:
            looked[shard_value] += 1
            return await visit(shard_value, **options)

        dispatcher._visit = counted  # type: ignore[method-assign]
        for invented in ("run:simple_", "event:simple_0", "run:", "later release:"):
            await rows(
                database,
                "SELECT count(pg_notify(%s, %s || number)) FROM generate_series(1, 20000) AS number",
                work_channel("durable"),
                invented,
            )
        await rows(
            database,
            "SELECT count(pg_notify(%s, 'event:simple_0') ) FROM generate_series(1, 20000)",
            work_channel("durable"),
        )
        handle = await client.begin(simple, "World")
        assert await handle.result(timeout=15) == "Hello, World!"
    assert set(looked) == {"simple_0"}
    assert looked["simple_0"] < 20
