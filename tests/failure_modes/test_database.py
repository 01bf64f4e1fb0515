"""Failure modes D: what a database does to those who use it."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from durable import AsyncClient, Call, Context, RetryPolicy, RunFailed, RunNotFound, RunRetryPolicy, Worker, workflow
from durable.admin.pruning import prune
from durable.postgres.outages import is_outage
from tests.proxy import Proxy
from tests.watching import rows, until


async def echo(name: str) -> str:
    return name


async def book(tx: psycopg.AsyncConnection[Any], name: str) -> str:
    await tx.execute("INSERT INTO public.ledger VALUES (%s)", (name,))
    return name


@workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
async def everything(ctx: Context, index: int) -> int:
    """Steps, transactions, sleeps, events, a timeout, a retry of the run."""
    await asyncio.gather(*(ctx.execute(f"step {number}", echo, "step") for number in range(3)))
    await ctx.transaction("book", book, str(index))
    await ctx.sleep("nap", 0.01)
    if index % 5 == 0 and ctx.attempt == 1:
        raise ConnectionError("once more")
    await ctx.wait_for_event("news", "news", int)
    return index


@asynccontextmanager
async def setting(dsn: str, **settings: str) -> AsyncIterator[None]:
    """Those settings for every new connection to the database."""
    name = sql.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for key, value in settings.items():
            change = sql.SQL("ALTER DATABASE {} SET {} = {}").format(name, sql.Identifier(key), value)
            await connection.execute(change)
        try:
            yield
        finally:
            for key in settings:
                await connection.execute(sql.SQL("ALTER DATABASE {} RESET {}").format(name, sql.Identifier(key)))


async def live(dsn: str, runs: int = 40, *, through: str | None = None) -> None:
    """Begins runs that do everything on two workers, and checks that each transaction happened once."""
    await rows(dsn, "CREATE TABLE public.ledger (entry text)")
    worker_dsn = through or dsn
    async with AsyncClient(dsn) as client, Worker(worker_dsn, [everything]), Worker(worker_dsn, [everything]):
        run_keys = await client.begin_many(everything, range(runs))
        await asyncio.gather(*(client.publish_event(run_key, "news", 1) for run_key in run_keys))
        results = [await client.handle(run_key, everything).result(timeout=30) for run_key in run_keys]
    assert results == list(range(runs))
    ledger = await rows(dsn, "SELECT entry::int FROM public.ledger ORDER BY 1")
    assert ledger == [(number,) for number in range(runs)]


# D1, D2


async def test_d1_what_was_committed_without_an_answer_happens_once_all_the_same(database: str) -> None:
    async def lose_answers(proxy: Proxy) -> None:
        for lost in range(6):
            proxy.lose_reply_of_commit()
            await until(partial(has_lost, proxy, lost + 1), seconds=60)
            await asyncio.sleep(0.03)  # in which some are heard

    async with Proxy(database) as proxy:
        losing = asyncio.create_task(lose_answers(proxy))
        try:
            await live(database, through=proxy.conninfo)
        finally:
            losing.cancel()
        assert proxy.lost_replies >= 4


def has_lost(proxy: Proxy, count: int) -> bool:
    return proxy.lost_replies >= count


@pytest.mark.parametrize(
    "error",
    [
        errors.ReadOnlySqlTransaction,
        errors.AdminShutdown,
        errors.CrashShutdown,
        errors.CannotConnectNow,
        errors.ConnectionFailure,
        errors.ConnectionDoesNotExist,
        errors.SqlclientUnableToEstablishSqlconnection,
        errors.DiskFull,
        errors.TooManyConnections,
        errors.OutOfMemory,
        errors.SerializationFailure,
        errors.DeadlockDetected,
    ],
)
def test_d2_what_the_database_is_to_blame_for_is_tried_again(error: type[psycopg.Error]) -> None:
    assert is_outage(error("so it goes"))
    assert not is_outage(errors.UniqueViolation("no"))


@workflow
async def echoing(ctx: Context) -> str:
    return await ctx.execute("echo", echo, "done")


async def test_d2_a_worker_gets_over_a_database_that_lets_it_only_read(database: str) -> None:
    writing = make_conninfo(database, options="-c default_transaction_read_only=off")
    worker_dsn = make_conninfo(database, application_name="read only")
    async with AsyncClient(writing) as client, Worker(worker_dsn, [echoing], poll_interval=0.05, lease=1) as worker:
        async with setting(database, default_transaction_read_only="on"):
            await hang_up_on(database, "read only")  # as a failover to a standby does
            await until(lambda: read_only_sessions(database))
            handle = await client.begin(echoing)
            await until(lambda: not worker.healthy(), seconds=20)
            assert (await handle.info()).status == "queued"
        assert await handle.result(timeout=20) == "done"


async def hang_up_on(dsn: str, name: str) -> None:
    await rows(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", name)


async def read_only_sessions(dsn: str) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'read only' HAVING count(*) >= 3"
    return bool(await rows(dsn, query))


# D3, D4, D5, D6


async def test_d4_all_goes_well_where_transactions_are_serializable(database: str) -> None:
    async with setting(database, default_transaction_isolation="serializable"):
        await live(database)


async def test_d6_all_goes_well_under_short_time_limits(database: str) -> None:
    limits = {"statement_timeout": "1s", "lock_timeout": "200ms", "idle_in_transaction_session_timeout": "200ms"}
    async with setting(database, **limits):
        await live(database)


async def test_d5_no_transaction_is_open_while_a_step_executes(database: str) -> None:
    seen: list[Any] = []

    async def look() -> None:
        query = (
            "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend' AND xact_start < now() - interval '100 ms'"
        )
        for _ in range(20):
            await asyncio.sleep(0.01)
            seen.extend(await rows(database, query))

    @workflow
    async def looking(ctx: Context) -> None:
        await ctx.execute("look", look)

    async with AsyncClient(database) as client, Worker(database, [looking]):
        await (await client.begin(looking)).result(timeout=10)
    assert seen == []


# D9


@pytest.mark.parametrize("size", [1, 9])
async def test_d9_no_pool_is_too_small_to_finish_and_none_leaks(database: str, size: int) -> None:
    async def hang() -> None:
        await asyncio.sleep(3600)

    async def insert(tx: psycopg.AsyncConnection[Any], index: int) -> int:
        await tx.execute("SELECT 1")
        return index

    @workflow(concurrency=10)
    async def booking(ctx: Context, index: int) -> int:
        numbers = await asyncio.gather(*(ctx.transaction(f"{number}", insert, number) for number in range(3)))
        return index + sum(numbers)

    @workflow(concurrency=300)
    async def hanging(ctx: Context) -> None:
        await asyncio.gather(ctx.execute("hang", hang), ctx.transaction("book", insert, 1))

    async with (
        AsyncConnectionPool(database, min_size=1, max_size=size, open=False) as pool,
        AsyncClient(database) as client,
    ):
        any_pool: Any = pool
        async with Worker(any_pool, [booking, hanging]):
            run_keys = await client.begin_many(booking, range(30))
            results = [await client.handle(run_key, booking).result(timeout=30) for run_key in run_keys]
            assert results == [index + 3 for index in range(30)]
            before = await connections(database)
            for run_key in await client.begin_many(hanging, [None] * 300):
                await client.cancel_run(run_key)
            await until(lambda: rows(database, ALL_CANCELLED), seconds=30)
            assert await connections(database) <= before + 4  # the engine's own pool may have grown to its size
        await until(lambda: pool.get_stats()["pool_available"] == pool.get_stats()["pool_size"] <= size)


ALL_CANCELLED = "SELECT 1 FROM durable.runs WHERE workflow_name = 'hanging' HAVING bool_and(status = 'cancelled')"


async def connections(dsn: str) -> int:
    ((count,),) = await rows(dsn, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    return int(count)


# D11, D12, D13


async def test_d11_a_column_added_under_load_fails_no_run(database: str) -> None:
    async def add_columns() -> None:
        for number in range(5):
            for table in ("runs", "steps", "waits", "events", "chapters", "workers", "schedules"):
                await rows(database, f"ALTER TABLE durable.{table} ADD COLUMN added_{number} integer DEFAULT 1")
                await asyncio.sleep(0.02)

    adding = asyncio.create_task(add_columns())
    await live(database, runs=200)
    await adding
    assert await rows(database, "SELECT count(*) FROM durable.runs WHERE status <> 'completed'") == [(0,)]


async def test_d12_a_worker_without_enough_connections_waits_for_them(database: str) -> None:
    role = f"limited_{uuid.uuid4().hex[:8]}"
    async with AsyncClient(database) as client:
        await rows(database, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
        try:
            await rows(database, f"GRANT USAGE ON SCHEMA durable TO {role}")
            await rows(database, f"GRANT ALL ON ALL TABLES IN SCHEMA durable TO {role}")
            worker = Worker(make_conninfo(database, user=role), [echoing], poll_interval=0.05)
            running = asyncio.create_task(worker.run())
            handle = await client.begin(echoing)
            await until(lambda: rows(database, "SELECT 1 FROM pg_stat_activity WHERE usename = %s", role))
            await rows(database, f"ALTER ROLE {role} CONNECTION LIMIT -1")
            assert await handle.result(timeout=20) == "done"
            worker.stop()
            await asyncio.wait_for(running, 10)
        finally:
            await rows(database, f"DROP OWNED BY {role}")
            await rows(database, f"DROP ROLE {role}")


async def test_d13_no_number_of_the_schema_runs_out(database: str) -> None:
    assert await rows(database, "SELECT 1 FROM pg_sequences WHERE schemaname = 'durable'") == []
    ids = await rows(
        database,
        "SELECT DISTINCT data_type FROM information_schema.columns"
        " WHERE table_schema = 'durable' AND column_name IN ('run_id', 'event_id', 'worker_id')",
    )
    assert ids == [("uuid",)]
    async with AsyncClient(database) as client:
        handle = await client.begin(echoing)
        await rows(database, "UPDATE durable.runs SET epoch = 2^31 + 1")
        async with Worker(database, [echoing]):
            assert await handle.result(timeout=10) == "done"
    assert await rows(database, "SELECT epoch > 2^31 FROM durable.runs") == [(True,)]


_mended: set[int] = set()


async def check(index: int) -> str:
    if index not in _mended:
        raise ValueError("not yet mended")
    return "mended"


@workflow
async def leafing(ctx: Context, index: int) -> str:
    return await ctx.execute(Call("check", retry=RetryPolicy(max_retries=0)), check, index)


@workflow
async def branching(ctx: Context, index: int) -> str:
    await ctx.sleep("nap", 0.001)
    return await ctx.run_child("leaf", leafing, index)


async def test_d14_what_is_pruned_while_it_is_claimed_and_retried_is_gone_whole_or_stays_whole(database: str) -> None:
    _mended.clear()
    pruned, found = 0, Counter[str]()

    async def prune_for_ever() -> None:
        nonlocal pruned
        while True:
            pruned += await asyncio.to_thread(prune, database, older_than=0)

    async def live_on(client: AsyncClient, index: int) -> None:
        handle = await client.begin(branching, index)
        try:
            with pytest.raises(RunFailed):
                await handle.result(timeout=20)
            _mended.add(index)
            await client.retry_run(handle.run_key)
            found[await handle.result(timeout=20)] += 1
        except RunNotFound:
            found["pruned"] += 1
        except RunFailed:
            found["failed again"] += 1  # asked before the worker had met the request

    async with Worker(database, [branching, leafing]), AsyncClient(database) as client:
        pruning = asyncio.create_task(prune_for_ever())
        await asyncio.gather(*(live_on(client, index) for index in range(150)))
        pruning.cancel()
        await asyncio.gather(pruning, return_exceptions=True)
        await until(
            partial(rows, database, "SELECT 1 WHERE NOT EXISTS (SELECT FROM durable.runs WHERE completed_at IS NULL)")
        )
    assert found["pruned"] > 0
    assert sum(found.values()) == 150
    orphans = "SELECT '{0}' FROM durable.{0} LEFT JOIN durable.runs USING (run_id) WHERE runs.run_id IS NULL"
    for table in ("steps", "waits", "chapters"):
        assert await rows(database, orphans.format(table)) == []

    prune(database, older_than=0)
    for table in ("runs", "steps", "waits", "events"):
        assert await rows(database, f"SELECT run_id FROM durable.{table}") == []
