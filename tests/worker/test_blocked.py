"""Somebody keeps a transaction open that the engine must wait for: what it locked waits, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durable import AsyncClient, AsyncHandle, Context, Every, RunKey, Worker, workflow
from durable.admin.migration import migrate
from durable.core.schedules.timetable import run_id_of
from durable.postgres.connection import EngineConnection
from durable.store.ids import uuid7
from durable.store.statement import Begin, Commit, NoRow, Query, nothing
from durable.worker.database import Database
from durable.worker.run import draws
from tests.conftest import new_database
from tests.pooler import find_pgbouncer, pooled_server
from tests.watching import reached, rows, until

EVENT = (
    "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload) VALUES (%s, %s, %s, 'x', 'null')"
)
CHILDREN = "SELECT run_id::text FROM durable.runs WHERE parent_run_id = %s AND status = 'waiting_event'"
BEGUN = "SELECT workflow_name_shard, run_id::text FROM durable.runs WHERE parent_run_id = %s AND epoch > 0"
WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@workflow
async def short(ctx: Context, number: int) -> int:
    return await ctx.execute("step", echo, number)


async def echo(number: int) -> int:
    return number


@workflow
async def patient(ctx: Context) -> str:
    return await ctx.wait_for_event("go", "go", str)


@workflow
async def family(ctx: Context) -> str:
    return await ctx.run_child("child", patient)


@workflow
async def ticking(ctx: Context) -> None:
    pass


@asynccontextmanager
async def transaction(database: str, statement: str, *params: Any) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A transaction that has run that statement and stays open."""
    async with await psycopg.AsyncConnection.connect(database) as connection:
        await connection.execute(statement.encode(), params)
        yield connection
        await connection.rollback()


def working(database: str) -> Worker:
    return Worker(database, [short, patient, family, ticking], max_poll_interval=0.2)


async def with_child(database: str, client: AsyncClient) -> tuple[AsyncHandle[str], RunKey]:
    """A parent and its child, which waits; the child's id is one of before version 9 of the schema."""
    parent = await client.begin(family)
    ((run_id,),) = await until(lambda: rows(database, CHILDREN, parent.run_key.run_id))
    return parent, RunKey("patient_0", run_id)


@pytest.fixture
def old_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children have the ids that they had before, which an application may use as well."""
    monkeypatch.setattr(draws, "child_run_id", lambda _: str(uuid7()))


@pytest.mark.usefixtures("old_ids")
async def test_a_record_that_is_blocked_waits_while_the_others_of_its_flush_are_written(database: str) -> None:
    async with AsyncClient(database) as client, working(database):
        families = [await with_child(database, client) for _ in range(3)]
        parent, child = families[0]
        waiting = [await client.begin(patient) for _ in range(200)]
        for handle in waiting:
            await reached(client, handle.run_key, "waiting_event")
        async with transaction(database, EVENT, "family_0", parent.run_key.run_id, child.run_id):
            for run_key in (*(child for _, child in families), *(handle.run_key for handle in waiting)):
                await client.publish_event(run_key, "go", "went")
            results = [
                *(other.result(timeout=20) for other, _ in families[1:]),
                *(one.result(timeout=20) for one in waiting),
            ]
            assert await asyncio.gather(*results) == ["went"] * 202
            for number in range(3):
                assert await (await client.begin(short, number)).result(timeout=20) == number
            assert (await client.get_run_info(child)).status == "running"
        assert await parent.result(timeout=20) == "went"
        assert (await client.get_run_info(child)).takeovers == 0


@pytest.mark.usefixtures("old_ids")
async def test_runs_of_all_shard_values_end_though_one_record_of_each_is_blocked(bare_database: str) -> None:
    """There are fewer connections of the engine than records that wait."""
    migrate(bare_database, shard_count=8)
    async with (
        AsyncClient(bare_database) as client,
        working(bare_database),
        await psycopg.AsyncConnection.connect(bare_database) as blocking,
    ):
        parents = [await client.begin(family) for _ in range(24)]
        children: list[RunKey] = []
        for parent in parents:
            ((shard_value, run_id),) = await until(partial(rows, bare_database, BEGUN, parent.run_key.run_id))
            children.append(RunKey(shard_value, run_id))
            await blocking.execute(EVENT.encode(), (*_of(parent), run_id))
        for child in children:
            await client.publish_event(child, "go", "went")
        await until(lambda: rows(bare_database, WAITING))
        assert len({child.workflow_name_shard for child in children}) > 4
        for number in range(20):
            assert await (await client.begin(short, number)).result(timeout=20) == number
        await blocking.rollback()
        assert {await parent.result(timeout=20) for parent in parents} == {"went"}


@pytest.mark.usefixtures("old_ids")
async def test_events_are_routed_though_the_end_of_a_child_is_blocked(database: str) -> None:
    async with AsyncClient(database) as client, working(database):
        families = [await with_child(database, client) for _ in range(3)]
        parent, child = families[0]
        waiting = await client.begin(patient)
        await reached(client, waiting.run_key, "waiting_event")
        async with transaction(database, EVENT, *_of(parent), child.run_id):
            for _, one in families:
                await client.terminate_run(one)
            await until(lambda: rows(database, WAITING))
            await waiting.publish_event("go", "went")
            assert await waiting.result(timeout=20) == "went"
            for _, one in families[1:]:
                await reached(client, one, "cancelled")
            assert (await client.get_run_info(child)).status == "waiting_event"
        await reached(client, child, "cancelled")


async def test_schedules_fire_though_the_run_of_one_tick_is_inserted_and_not_committed(database: str) -> None:
    async with AsyncClient(database) as client, working(database):
        await client.schedule(ticking, None, "blocked", Every(2))
        ((tick,),) = await rows(database, "SELECT next_tick_at FROM durable.schedules WHERE schedule_id = 'blocked'")
        assert isinstance(tick, datetime)
        insert = (
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input)"
            " VALUES ('ticking_0', %s, 'ticking', 'null')"
        )
        async with transaction(database, insert, run_id_of("blocked", tick)):
            await client.schedule(ticking, None, "free", Every(0.05))
            await until(lambda: rows(database, WAITING))
            moved = "SELECT 1 FROM durable.schedules WHERE schedule_id = 'free' AND last_tick_at > %s"
            ((now,),) = await rows(database, "SELECT now()")
            await until(lambda: rows(database, moved, now))
            assert (await client.begin(short, 1)).run_key
        fired = "SELECT 1 FROM durable.schedules WHERE schedule_id = 'blocked' AND last_tick_at IS NOT NULL"
        await until(lambda: rows(database, fired))


class _Setting(Query[Any]):
    """A query without a file, declared nowhere."""

    def __init__(self) -> None:
        self.name, self.row = "setting", NoRow

    def text(self, schema: str) -> Any:
        return "DO $$ BEGIN ASSERT current_setting('lock_timeout') = '1s', current_setting('lock_timeout'); END $$"


LIMITED = _Setting().statement({}, nothing)


async def is_limited(connection: EngineConnection) -> None:
    """Fails unless each kind of round trip is limited."""
    await connection.run(LIMITED)
    await connection.run(Commit([LIMITED]))
    await connection.run(Begin([LIMITED]))


async def limits(conninfo: str) -> None:
    database = Database(conninfo, "durable")
    await database.open()
    try:
        async with database.engine() as connection:
            await is_limited(connection)
        outside = await database.connect()
        await is_limited(outside)
        await outside.close()
    finally:
        await database.close()


async def test_every_statement_of_the_engine_waits_for_a_lock_within_a_limit(database: str) -> None:
    await limits(database)


@pytest.mark.skipif(find_pgbouncer() is None, reason="there is no pgbouncer here")
async def test_behind_a_pooler_too_and_no_other_client_of_it_gets_the_limit() -> None:
    with pooled_server() as (direct, pooled), new_database(direct) as conninfo:
        through = make_conninfo(pooled, dbname=str(conninfo_to_dict(conninfo)["dbname"]))
        await limits(through)
        assert await rows(through, "SELECT current_setting('lock_timeout')") == [("0",)]


def _of(handle: AsyncHandle[Any]) -> tuple[str, str]:
    return handle.run_key.workflow_name_shard, handle.run_key.run_id
