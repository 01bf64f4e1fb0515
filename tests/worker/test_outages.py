"""A database that answers, but not as it should: as a standby, for some shard values only, or too slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from durable import AsyncClient, Context, Worker, workflow
from durable.admin.migrate import migrate
from durable.core.shards import shard_value
from durable.postgres.outages import is_outage
from durable.postgres.pipeline import commit, read_all
from durable.store.statement import Statement, nothing
from durable.store.takeovers import take_over_runs
from durable.worker import takeover


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
            assert {(await handle.status()).status for handle in lame} == {"queued"}
            await admin.execute("DROP TRIGGER fail ON durable.runs; DROP FUNCTION fail()")
            await asyncio.gather(*(handle.result(timeout=20) for handle in lame))


async def test_a_takeover_that_takes_too_long_is_tried_with_fewer_runs(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(schema: str, shard: str, owner: str, limit: int, **options: Any) -> Any:
        asked.append(limit)
        return take_over_runs(schema, shard, owner, limit, **options)

    monkeypatch.setattr(takeover, "take_over_runs", counted)
    monkeypatch.setattr(takeover, "_TAKEOVER_SECONDS", 0.5)
    monkeypatch.setattr(takeover, "_ORPHANS_SECONDS", 0.1)
    monkeypatch.setattr(takeover, "_MOST_TAKEN_OVER", 32)
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


async def test_a_commit_that_fails_at_the_end_of_a_pipeline_is_taken_for_an_outage(database: str) -> None:
    insert = Statement("INSERT INTO later VALUES (1, 2)", {}, nothing)
    async with await _with_late_constraint(database) as connection:
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            await commit(connection, [insert])
    async with await _with_late_constraint(database) as connection:
        with pytest.raises(psycopg.OperationalError) as raised:
            await read_all(connection, [insert])
        assert is_outage(raised.value)
        assert connection.closed


async def test_what_a_failed_pipeline_has_skipped_is_not_taken_for_prepared(database: str) -> None:
    late = Statement("INSERT INTO later VALUES (1, 2)", {}, nothing)
    soon = Statement("SELECT 1 / 0", {}, nothing)
    count = Statement("SELECT count(*) FROM later", {}, list)
    for number in range(8):  # psycopg prepares what it has met five times
        async with await _with_late_constraint(database) as connection:
            for _ in range(number):
                await read_all(connection, [count])
            for failing in (commit(connection, [late], then=[count]), read_all(connection, [soon, count])):
                with pytest.raises(psycopg.Error):
                    await failing
                assert await read_all(connection, [count]) == [[(0,)]]


@pytest.mark.parametrize("run", [commit, read_all])
async def test_whoever_is_cancelled_in_a_pipeline_is_cancelled(database: str, run: Callable[..., Any]) -> None:
    statements = [Statement("SELECT pg_sleep(60)", {}, nothing), Statement("SELECT 1", {}, nothing)]
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as look,
    ):
        task = asyncio.create_task(run(connection, statements))
        asked = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
        while await (await look.execute(asked, [connection.info.backend_pid])).fetchone() != (True,):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert connection.closed or await read_all(connection, [Statement("SELECT 1", {}, list)]) == [[(1,)]]


async def _with_late_constraint(database: str) -> psycopg.AsyncConnection[Any]:
    connection = await psycopg.AsyncConnection.connect(database, autocommit=True)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS later (a int PRIMARY KEY, b int REFERENCES later DEFERRABLE INITIALLY DEFERRED)"
    )
    return connection
