"""What the ancestor's tests lack: requests that meet a run while its step runs, wakes on time, lost connections."""

from __future__ import annotations

from collections import Counter

import psycopg
from psycopg.conninfo import make_conninfo

from durable import AsyncClient, Worker
from durable.admin.migrate import migrate
from durable.store.channels import work_channel
from tests.watching import reached, rows, until
from tests.worker.flows import awaiting, greeting

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


async def test_a_raise_of_the_shard_count_strands_no_run_in_flight(database: str) -> None:
    event = awaiting(Counter())
    async with AsyncClient(database) as early, Worker(database, [event], poll_interval=0.1):
        before = await early.begin_many(event, ["go"] * 8)
        for run_key in before:
            await reached(early, run_key, "waiting_event")
        migrate(database, shard_count=4)
        async with AsyncClient(database) as late:
            after = await late.begin_many(event, ["go"] * 16)
            stale = await early.begin_many(event, ["go"] * 8)  # of a client that has not heard of it
            for run_key in (*before, *after, *stale):
                await late.publish_event(run_key, "go", "went")
            for run_key in (*before, *after, *stale):
                assert await late.handle(run_key, event).result(timeout=20) == "went"
    assert len({run_key.workflow_name_shard for run_key in after}) > 1
    assert {run_key.workflow_name_shard for run_key in (*before, *stale)} == {"event_0"}
