"""Shard values: every one gets its turn, and more of them can be had at any time."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from durable import AsyncClient, AsyncHandle, Context, Worker, workflow
from durable.admin.migration import migrate
from durable.worker.database import Database
from tests.watching import listen_to_work, reached, without_tickets
from tests.worker.flows import awaiting

SHARDS = 4


async def nothing() -> None: ...


@workflow(concurrency=2)
async def small(ctx: Context) -> None:
    await ctx.execute("nothing", nothing)


async def insert(connection: psycopg.AsyncConnection[Any], shard: int, count: int) -> None:
    ids = [str(uuid.uuid4()) for _ in range(count)]
    await connection.execute(
        "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input)"
        " SELECT %s, id, 'small', 'null' FROM unnest(%s::uuid[]) AS id",
        (f"small_{shard}", ids),
    )


async def test_a_crowded_shard_value_does_not_starve_the_others(database: str) -> None:
    migrate(database, shard_count=SHARDS)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for crowded in range(SHARDS):
            await connection.execute("TRUNCATE durable.runs, durable.steps")
            await insert(connection, crowded, 200)
            for lonely in set(range(SHARDS)) - {crowded}:
                await insert(connection, lonely, 1)
            async with Worker(database, [small]):
                await _until_done(connection, 200 + SHARDS - 1)
            cursor = await connection.execute(
                "SELECT max(place) FROM (SELECT workflow_name_shard, row_number() OVER (ORDER BY completed_at) AS place"
                " FROM durable.runs) AS ended WHERE workflow_name_shard <> %s",
                (f"small_{crowded}",),
            )
            (last,) = await cursor.fetchone() or (0,)
            assert last < 50


async def _until_done(connection: psycopg.AsyncConnection[Any], count: int) -> None:
    async with asyncio.timeout(30):
        while True:
            cursor = await connection.execute("SELECT count(*) FROM durable.runs WHERE status = 'completed'")
            if await cursor.fetchone() == (count,):
                return
            await asyncio.sleep(0.02)


async def test_raising_the_count_under_load_strands_nothing(database: str) -> None:
    async with AsyncClient(database) as before, Worker(database, [small]):
        handles = [await before.begin(small) for _ in range(20)]
        migrate(database, shard_count=16)
        async with AsyncClient(database) as after:
            for _ in range(20):
                handles.append(await after.begin(small))
                handles.append(await before.begin(small))
            handles.append(await before.begin(small, key="once"))
            handles.append(await after.begin(small, key="once"))
            await asyncio.gather(*(handle.result(timeout=30) for handle in handles))
            assert handles[-1].run_key == handles[-2].run_key
            assert len({handle.run_key.workflow_name_shard for handle in handles}) > 1


async def test_runs_of_values_that_nobody_announced_are_found_when_the_worker_learns_of_them(database: str) -> None:
    async with Worker(database, [small], max_poll_interval=3600):
        migrate(database, shard_count=SHARDS)
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await insert(connection, SHARDS - 1, 1)
            await _until_done(connection, 1)


async def test_schemas_of_one_database_do_not_wake_each_other(database: str) -> None:
    migrate(database, schema="Other")
    async with (
        AsyncClient(database) as client,
        AsyncClient(database, schema="Other") as other,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as listener,
    ):
        await listener.execute(listen_to_work("Other"))
        await client.begin(small)
        theirs = await other.begin(small)
        notices = [notice async for notice in listener.notifies(timeout=5, stop_after=1)]
    announced = without_tickets(notice.payload for notice in notices)
    assert announced == [f"first:{theirs.run_key.workflow_name_shard}"]


async def test_what_was_published_while_nobody_listened_is_found_when_listening_is_back(database: str) -> None:
    async with (
        AsyncClient(database) as client,
        Worker(database, [small], max_poll_interval=3600) as worker,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
    ):
        await (await client.begin(small)).result(timeout=10)
        async with asyncio.timeout(10):
            while not worker.status().is_listening:
                await asyncio.sleep(0.01)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
            " AND datname = current_database()"
        )
        await insert(connection, 0, 3)
        await _until_done(connection, 4)


class Meddler:
    """A worker's database; what it answered is handed on only after ``meddle`` is done."""

    def __init__(self, database: Database, meddle: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._meddle = meddle

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Any]:
        async with self._database.engine() as connection:
            yield connection
        await self._meddle()


async def test_a_hint_is_not_lost_that_comes_while_an_answer_is_under_way(database: str) -> None:
    never = 3600
    begun: list[AsyncHandle[None]] = []
    async with AsyncClient(database) as client, Worker(database, [small], notify=False, poll_interval=never) as worker:
        dispatcher = worker._dispatchers["small"]

        async def begin_one() -> None:
            if not begun:
                begun.append(await client.begin(small))
                dispatcher.work_arrived("small_0", is_event=False)

        meddler: Any = Meddler(dispatcher._database, begin_one)
        dispatcher._database = meddler
        dispatcher.poll()
        async with asyncio.timeout(10):
            while not begun:
                await asyncio.sleep(0.01)
            await begun[0].result()


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
