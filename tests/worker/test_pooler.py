"""Behind PgBouncer in transaction mode: no session state, no notification, no lock; all the rest."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from durable import AsyncClient, Client, Context, DurableError, Every, RunCancelled, Worker, workflow
from durable.admin.migration import migrate
from tests.conftest import new_database
from tests.pooler import find_pgbouncer, pooled_server
from tests.watching import JIT_IS_OFF, WRITE_DOWN_JIT, rows
from tests.worker import unfit
from tests.worker.processes import LEASE, WorkerProcess, entries, limited, prepare, three_steps, until
from tests.worker.run import timed

pytestmark = pytest.mark.skipif(find_pgbouncer() is None, reason="there is no pgbouncer here")


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    with pooled_server() as conninfos:
        yield conninfos


@pytest.fixture
def direct(servers: tuple[str, str]) -> Iterator[str]:
    """A migrated database, as it is."""
    with new_database(servers[0]) as conninfo:
        migrate(conninfo)
        yield conninfo


@pytest.fixture
def pooled(servers: tuple[str, str], direct: str) -> str:
    """The same database, seen through the pooler."""
    return make_conninfo(servers[1], dbname=str(conninfo_to_dict(direct)["dbname"]))


async def word(text: str) -> str:
    return text


async def count(tx: psycopg.AsyncConnection[Any]) -> int:
    cursor = await tx.execute("SELECT count(*) FROM durable.runs")
    return int((await cursor.fetchall())[0][0])


@workflow
async def everything(ctx: Context, number: int) -> list[str]:
    words = [await ctx.execute("step", word, f"step {number}")]
    words.append(str(await ctx.transaction("count", count) > 0))
    await ctx.sleep("nap", 0.05)
    words.append(await ctx.wait_for_event("wait", "news", str))
    return words


@workflow
async def waiting(ctx: Context) -> None:
    await ctx.wait_for_event("wait", "never")


@workflow
async def ticking(ctx: Context) -> None: ...


async def test_every_primitive_works_many_times_over(pooled: str) -> None:
    async with AsyncClient(pooled) as client, Worker(pooled, [everything], poll_interval=0.05):
        handles = [await client.begin(everything, number) for number in range(20)]
        for handle in handles:
            await handle.publish_event("news", "good")
        results = await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
        assert results == [[f"step {number}", "True", "good"] for number in range(20)]


@workflow
async def in_chapters(ctx: Context, number: int) -> list[Any]:
    news = await ctx.wait_for_event("wait", "news", str)
    if ctx.chapter < 3:
        return await ctx.continue_as_new(number + 1)
    words = await ctx.map("word", word, ["a", "b"], max_concurrency=1)
    try:
        async with ctx.saga() as saga:
            saga.undo("booked", word, await ctx.execute("booked", word, news))
            raise ValueError("no")
    except ValueError:
        return [number, ctx.patched("way"), *words]


async def test_sagas_maps_and_chapters_work(pooled: str, direct: str) -> None:
    async with AsyncClient(pooled) as client, Worker(pooled, [in_chapters], poll_interval=0.05):
        handles = [await client.begin(in_chapters, 1) for _ in range(10)]
        for handle in handles * 3:
            await handle.publish_event("news", "good")
        results = await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
        assert results == [[3, True, "a", "b"]] * 10
    assert await rows(direct, "SELECT count(*) FROM durable.steps WHERE kind = 'undo'") == [(10,)]


async def test_what_is_set_for_the_database_changes_nothing(pooled: str, direct: str) -> None:
    name = conninfo_to_dict(direct)["dbname"]
    with psycopg.connect(direct, autocommit=True) as connection:
        for setting in (
            "array_nulls = off",
            "default_transaction_isolation = serializable",
            "DateStyle = 'German'",
            "TimeZone = 'Asia/Tokyo'",
            "standard_conforming_strings = off",
            "escape_string_warning = off",
            "client_encoding = LATIN1",
            "extra_float_digits = -15",
        ):
            connection.execute(f"ALTER DATABASE {name} SET {setting}".encode())
    async with AsyncClient(pooled) as client, Worker(pooled, [everything], poll_interval=0.05):
        handles = [await client.begin(everything, number) for number in range(5)]
        for handle in handles:
            await handle.publish_event("news", "good ☃")
        results = await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
        assert results == [[f"step {number}", "True", "good ☃"] for number in range(5)]
        assert [(await handle.info()).attempts for handle in handles] == [0] * 5
        with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as other:
            shown = other.execute("SELECT current_setting('standard_conforming_strings')").fetchone()
            assert shown == ("off",)  # nothing of ours is left there


async def test_no_statement_of_a_worker_is_compiled_just_in_time(pooled: str, direct: str) -> None:
    await rows(direct, WRITE_DOWN_JIT)
    async with AsyncClient(pooled) as client, Worker(pooled, [everything], poll_interval=0.05):
        handle = await client.begin(everything, 1)
        await handle.publish_event("news", "good")
        await handle.result(timeout=30)
    assert await rows(direct, "TABLE written ORDER BY 1") == JIT_IS_OFF


async def test_cancels_and_schedules_work(pooled: str) -> None:
    async with AsyncClient(pooled) as client, Worker(pooled, [waiting, ticking], poll_interval=0.05):
        handle = await client.begin(waiting)
        await handle.cancel("enough")
        with pytest.raises(RunCancelled, match="enough"):
            await handle.result(timeout=30)
        await client.schedule(ticking, None, "often", Every(timedelta(seconds=0.2)))
        async with asyncio.timeout(30):
            while len(await client.list_runs(workflow="ticking")) < 3:
                await asyncio.sleep(0.02)


async def test_nothing_of_the_worker_is_left_in_the_sessions_of_others(pooled: str, direct: str) -> None:
    async with AsyncClient(pooled) as client, Worker(pooled, [everything], poll_interval=0.05):
        handle = await client.begin(everything, 1)
        await handle.publish_event("news", "good")
        await handle.result(timeout=30)
        async with await psycopg.AsyncConnection.connect(direct) as connection:
            cursor = await connection.execute("SELECT lock_key FROM durable.workers")
            assert await cursor.fetchall() == [(None,)]
            cursor = await connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            assert await cursor.fetchall() == [(0,)]
        async with await psycopg.AsyncConnection.connect(pooled, autocommit=True, prepare_threshold=None) as other:
            for _ in range(20):
                cursor = await other.execute(
                    "SELECT current_setting('plan_cache_mode'), (SELECT count(*) FROM pg_prepared_statements),"
                    " (SELECT count(*) FROM pg_listening_channels())"
                )
                assert await cursor.fetchall() == [("auto", 0, 0)]


def test_a_killed_workers_runs_move_after_its_lease(pooled: str, direct: str) -> None:
    prepare(direct)
    with Client(pooled) as client, WorkerProcess(pooled, hangs=True, lease=LEASE) as victim:
        handle = client.begin(three_steps, "second")
        until(lambda: "second" in entries(direct))
        victim.signal(signal.SIGKILL)
        with WorkerProcess(pooled, lease=LEASE):
            assert handle.result(timeout=LEASE + 30) == ["first", "second", "third"]
        assert handle.info().takeovers == 1
    assert entries(direct) == ["first", "second", "second", "third"]


def test_a_timer_ends_a_step_after_its_worker_was_killed(pooled: str, direct: str) -> None:
    prepare(direct)
    with Client(pooled) as client, WorkerProcess(pooled, hangs=True, lease=LEASE) as victim:
        handle = client.begin(limited, 1.0)
        until(lambda: entries(direct))
        victim.signal(signal.SIGKILL)
        with WorkerProcess(pooled, hangs=True, lease=LEASE):
            assert handle.result(timeout=LEASE + 30) == "too late"


@pytest.mark.parametrize("check", unfit.CHECKS, ids=lambda check: check.__name__)
async def test_scheduled_runs_that_do_not_fit_the_code_are_the_same(
    pooled: str, check: Callable[[str], Awaitable[None]]
) -> None:
    await check(pooled)


@pytest.mark.parametrize("check", timed.CHECKS, ids=lambda check: check.__name__)
async def test_timers_of_asyncio_are_the_same(pooled: str, check: Callable[[str], Awaitable[None]]) -> None:
    await check(pooled)


def test_a_pooler_of_statements_is_recognized_and_named() -> None:
    with pooled_server("statement") as (direct, pooled):
        migrate(direct)
        rule = "needs session or transaction pooling, but the pooler"
        with pytest.raises(DurableError, match=rule):
            asyncio.run(asyncio.wait_for(Worker(pooled, [waiting]).run(), 30))
        with pytest.raises(DurableError, match=rule):
            asyncio.run(asyncio.wait_for(Worker(pooled, [waiting]).process_one(), 30))
        with Client(pooled) as client, pytest.raises(DurableError, match=rule):
            client.begin_many(waiting, [None])
        with ConnectionPool(pooled, min_size=1) as pool, Client(pool) as client:
            with pytest.raises(DurableError, match=rule):
                client.begin_many(waiting, [None])
        asyncio.run(_begin_many_is_refused(pooled, rule))
        with pytest.raises(DurableError, match=rule):
            migrate(pooled)


async def _begin_many_is_refused(pooled: str, rule: str) -> None:
    async with AsyncClient(pooled) as client:
        with pytest.raises(DurableError, match=rule):
            await client.begin_many(waiting, [None])


async def test_a_run_takes_the_place_of_another_one(pooled: str) -> None:
    async with AsyncClient(pooled) as client, Worker(pooled, [waiting, everything], poll_interval=0.05):
        first = await client.begin(waiting, key="k")
        second = await client.begin(waiting, key="k", if_active="cancel")
        with pytest.raises(RunCancelled):
            await first.result(timeout=30)
        third = await client.begin(waiting, key="k", if_active="terminate")
        await client.cancel_run((waiting, "k"))
        for handle in (second, third):
            with pytest.raises(RunCancelled):
                await handle.result(timeout=30)


@workflow
async def answering(ctx: Context) -> int:
    request = await ctx.wait_for_request("ask", "add", int)
    await request.reply(request.payload + 1)
    return request.payload


async def test_a_request_is_answered_behind_a_pooler(pooled: str) -> None:
    async with AsyncClient(pooled) as client, Worker(pooled, [answering], max_poll_interval=0.2):
        run = await client.begin(answering)
        assert await run.request("add", 41, type=int, timeout=20) == 42


def test_a_sync_client_is_answered_behind_a_pooler(pooled: str) -> None:
    async def serve(run_key: Any) -> None:
        async with Worker(pooled, [answering], max_poll_interval=0.2):
            with Client(pooled) as client:
                assert await asyncio.to_thread(client.request, run_key, "add", 41, type=int, timeout=20) == 42

    with Client(pooled) as client:
        run_key = client.begin(answering).run_key
    asyncio.run(serve(run_key))
