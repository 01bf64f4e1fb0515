"""A database that is away, or answers as it should not: as a standby, for some shard values only, or too slowly."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from durable import AsyncClient, Client, Context, Worker, workflow
from durable.admin.migration import migrate
from durable.core.shards import shard_value
from durable.store.takeovers import take_over
from durable.worker import takeover
from tests.proxy import Proxy
from tests.watching import rows, until
from tests.worker.flows import greeting


@workflow
async def double(ctx: Context, number: int) -> int:
    return number * 2


@workflow
async def pausing(ctx: Context) -> str:
    await ctx.sleep("a moment", 0.05)
    return "done"


@workflow
async def idle(ctx: Context) -> None: ...


async def test_runs_wait_for_a_standby_to_be_promoted_and_none_fails(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as admin,
        AsyncClient(database) as client,
        Worker(database, [pausing], poll_interval=0.05) as worker,
    ):
        handles = [await client.begin(pausing) for _ in range(50)]
        name = sql.Identifier(admin.info.dbname)
        await admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        async with asyncio.timeout(20):
            while "read-only transaction" not in caplog.text:
                await asyncio.sleep(0.02)
        await admin.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))
        assert [await handle.result(timeout=30) for handle in handles] == ["done"] * 50
        assert worker.ready()


async def test_a_shard_value_that_fails_holds_up_no_other(database: str) -> None:
    migrate(database, shard_count=2)
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as admin,
        AsyncClient(database) as client,
    ):
        await admin.execute(
            """
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE 'this node is down' USING ERRCODE = '58000'; END $$;
            CREATE TRIGGER fail BEFORE UPDATE ON durable.runs
                FOR EACH ROW WHEN (NEW.workflow_name_shard = 'idle_0') EXECUTE FUNCTION fail();
            """
        )
        handles = [await client.begin(idle) for _ in range(20)]
        lame = [handle for handle in handles if shard_value("idle", handle.run_key.run_id, 2) == "idle_0"]
        well = [handle for handle in handles if handle not in lame]
        assert lame and well
        async with Worker(database, [idle], poll_interval=0.05):
            await asyncio.gather(*(handle.result(timeout=20) for handle in well))
            assert {(await handle.info()).status for handle in lame} == {"queued"}
            await admin.execute("DROP TRIGGER fail ON durable.runs; DROP FUNCTION fail()")
            await asyncio.gather(*(handle.result(timeout=20) for handle in lame))


async def test_a_takeover_that_takes_too_long_is_tried_with_fewer_runs(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(shard: str, owner: str, limit: int, **options: Any) -> Any:
        asked.append(limit)
        return take_over(shard, owner, limit, **options)

    monkeypatch.setattr(takeover, "take_over", counted)
    monkeypatch.setattr(takeover, "_TAKEOVER_SECONDS", 0.5)
    monkeypatch.setattr(takeover, "_ORPHANS_SECONDS", 0.1)
    monkeypatch.setattr(takeover, "_MAX_TAKEN_OVER", 32)
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as admin,
        AsyncClient(database) as client,
    ):
        await client.begin_many(idle, [None] * 40)
        await admin.execute(
            """
            UPDATE durable.runs SET status = 'running', worker_id = '00000000-0000-4000-8000-000000000000';
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep(0.04); RETURN NEW; END $$;
            CREATE TRIGGER slow BEFORE UPDATE ON durable.runs
                FOR EACH ROW WHEN (OLD.worker_id IS NOT NULL AND NEW.status = 'queued') EXECUTE FUNCTION slow();
            """
        )
        async with Worker(database, [idle], poll_interval=0.05), asyncio.timeout(60):
            while len(await client.list_runs(status="completed")) < 40:
                await asyncio.sleep(0.05)
    assert asked[0] == 32
    assert min(asked) < 16


async def test_a_worker_waits_for_a_database_that_is_down_at_its_start(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(database) as client:
        run_key = client.begin(double, 4).run_key
    async with Proxy(database) as proxy:
        proxy.refuse()
        task = asyncio.create_task(Worker(proxy.conninfo, [double], poll_interval=0.05).run())
        async with asyncio.timeout(20):
            while "waiting for the database" not in caplog.text:
                await asyncio.sleep(0.01)
        proxy.accept()
        async with AsyncClient(database) as client:
            assert await client.handle(run_key, double).result(timeout=20) == 8
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_survives_a_database_that_goes_away_and_comes_back(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    calls: list[int] = []

    async def step(index: int) -> int:
        calls.append(index)
        return index

    @workflow
    async def long(ctx: Context) -> list[int]:
        results: list[int] = []
        for index in range(20):
            results.append(await ctx.execute(f"step {index}", step, index))
            await ctx.sleep(f"nap {index}", 0.02)
        return results

    async with Proxy(database) as proxy, AsyncClient(database) as client:
        async with Worker(proxy.conninfo, [long], poll_interval=0.1):
            handle = await client.begin(long)
            for _ in range(3):
                seen = len(calls)
                async with asyncio.timeout(20):
                    while len(calls) < seen + 3:
                        await asyncio.sleep(0.005)
                proxy.cut()
            assert await handle.result(timeout=30) == list(range(20))
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute("SELECT count(*) FROM durable.steps")
        assert await cursor.fetchone() == (20,)


async def test_killed_backends_lose_nothing(database: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    worker_dsn = make_conninfo(database, application_name="the worker")
    async with AsyncClient(database) as client, Worker(worker_dsn, [double], poll_interval=0.1):
        for _ in range(5):
            keys = await client.begin_many(double, range(100))
            async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'the worker'"
                )
            results = [await client.handle(key, double).result(timeout=20) for key in keys]
            assert results == [2 * number for number in range(100)]


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
