"""The sessions of a worker: set up as its statements need them, opened as the caller's pool opens its own, and few."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from durable import AsyncClient, Client, Context, DurableError, Every, Worker, workflow
from durable.admin import migrate, prune
from durable.core.errors import InvalidArgument
from durable.worker.database import DEFAULT_CONNECTIONS, LEAST_CONNECTIONS
from tests.conftest import new_database
from tests.watching import JIT_IS_OFF, WRITE_DOWN_JIT, rows, until

TEXT = "é € ☃ 𝄞 \\ \\u2603"
SETTINGS = {
    "DateStyle": "German, DMY",
    "TimeZone": "America/St_Johns",
    "IntervalStyle": "sql_standard",
    "array_nulls": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "default_transaction_isolation": "serializable",
    "client_encoding": "LATIN1",
    "quote_all_identifiers": "on",
    "idle_session_timeout": "400",
    "statement_timeout": "10s",
}


async def said(text: str) -> str:
    return text


async def read(tx: psycopg.AsyncConnection[Any]) -> str:
    cursor = await tx.execute("SELECT %s::text", [TEXT])
    return str((await cursor.fetchall())[0][0])


@workflow
async def child(ctx: Context, text: str) -> str:
    return await ctx.execute("say", said, text)


@workflow(timeout=3600)
async def everything(ctx: Context, text: str) -> list[str]:
    answers = [
        (await ctx.now("now")).isoformat(),
        await ctx.execute("say", said, text),
        await ctx.transaction("read", read),
        await ctx.run_child("child", child, text),
    ]
    await ctx.sleep("nap", 0.75)
    answers.append(await ctx.wait_for_event("wait", "news", str, timeout=3600))
    return answers


@workflow
async def ticking(ctx: Context) -> None: ...


def set_up(conninfo: str, server: str, settings: dict[str, str]) -> None:
    name = conninfo_to_dict(conninfo)["dbname"]
    with psycopg.connect(server, autocommit=True) as connection:
        for setting, value in settings.items():
            connection.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'".encode())


async def all_goes_well(conninfo: str) -> None:
    began = datetime.now(UTC)
    options: Any = {"poll_interval": 0.05, "max_resident": 1}
    async with AsyncClient(conninfo) as client, Worker(conninfo, [everything, child, ticking], **options):
        await client.schedule(ticking, None, "often", Every(timedelta(seconds=0.2)))
        handles = [await client.begin(everything, TEXT) for _ in range(3)]
        for handle in handles:
            await handle.publish_event("news", TEXT)
        for handle in handles:
            now, *answers = await handle.result(timeout=30)
            assert datetime.fromisoformat(now).utcoffset() == timedelta()
            assert abs(datetime.fromisoformat(now) - began) < timedelta(minutes=1)
            assert answers == [TEXT] * 4
            info = await handle.info()
            assert (info.takeovers, info.attempts) == (0, 0)
            assert info.updated_at - datetime.fromisoformat(now) >= timedelta(seconds=0.75)

        async def has_ticked() -> bool:
            return len(await client.list_runs(workflow=ticking)) > 2

        await until(has_ticked)


def test_nothing_that_is_set_for_the_database_changes_what_a_worker_does(server_dsn: str) -> None:
    with new_database(server_dsn) as conninfo:
        set_up(conninfo, server_dsn, SETTINGS)
        migrate(conninfo)
        asyncio.run(all_goes_well(conninfo))
        with Client(conninfo) as client:
            before = len(client.list_runs())
            assert prune(conninfo, older_than=0) == before


async def test_no_statement_of_a_worker_is_compiled_just_in_time(database: str) -> None:
    await rows(database, WRITE_DOWN_JIT)
    async with AsyncClient(database) as client, Worker(database, [child]):
        await (await client.begin(child, TEXT)).result(timeout=30)
    assert await rows(database, "TABLE written ORDER BY 1") == JIT_IS_OFF


async def test_a_listener_outlives_the_limit_that_is_set_for_idle_sessions(server_dsn: str) -> None:
    with new_database(server_dsn) as conninfo:
        migrate(conninfo)
        set_up(conninfo, server_dsn, {"idle_session_timeout": "200"})
        listeners = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %%'"
        async with Worker(conninfo, [ticking]) as worker:
            await until(lambda: worker.status().is_listening)
            (listener,) = await rows(conninfo, listeners)
            async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as younger:
                there = ("SELECT 1 FROM pg_stat_activity WHERE pid = %s", younger.info.backend_pid)

                async def is_gone() -> bool:
                    return await rows(conninfo, *there) == []

                await until(is_gone)
            assert await rows(conninfo, listeners) == [listener]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_refused(encoding: str, server_dsn: str) -> None:
    name = f"durable_test_{encoding.lower()}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        provider = "LOCALE_PROVIDER libc" if admin.info.server_version >= 150000 else ""
        options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' {provider}"
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 {options}".encode())
        try:
            with pytest.raises(DurableError, match=f"'{name}' must have the encoding UTF8, got {encoding}"):
                migrate(make_conninfo(server_dsn, dbname=name))
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


# pools of the caller


@workflow
async def reading(ctx: Context) -> str:
    return await ctx.transaction("read", read)


class Token(psycopg.AsyncConnection[Any]):
    """Brings what must not be in a connection string."""

    arguments: ClassVar[dict[str, Any]] = {}

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Any:
        return await super().connect(conninfo, **{**options, **cls.arguments})


@asynccontextmanager
async def pool_of(kind: str, conninfo: str, called: Callable[[], None]) -> AsyncIterator[Any]:
    """A pool whose connections are named "as the pool", in one of the ways to say so. Otherwise none can be made."""
    nowhere = make_conninfo(conninfo, user="nobody_of_that_name")
    named = {"user": str(conninfo_to_dict(conninfo)["user"]), "application_name": "as the pool"}
    Token.arguments = named

    def text() -> str:
        called()
        return make_conninfo(nowhere, **named)

    async def text_later() -> str:
        called()
        await asyncio.sleep(0)
        return make_conninfo(nowhere, **named)

    async def arguments_later() -> dict[str, Any]:
        called()
        await asyncio.sleep(0)
        return dict(named)

    def arguments() -> dict[str, Any]:
        called()
        return dict(named)

    given: dict[str, tuple[Any, dict[str, Any]]] = {
        "arguments": (nowhere, {"kwargs": named}),
        "function": (text, {}),
        "async function": (text_later, {}),
        "function of arguments": (nowhere, {"kwargs": arguments}),
        "async function of arguments": (nowhere, {"kwargs": arguments_later}),
        "class": (nowhere, {"connection_class": Token}),
    }
    first, options = given[kind]
    async with AsyncConnectionPool(first, min_size=1, open=False, **options) as pool:
        yield pool


KINDS = ["arguments", "function", "async function", "function of arguments", "async function of arguments", "class"]


@pytest.mark.parametrize("kind", KINDS)
async def test_every_connection_of_a_worker_is_as_those_of_the_pool(kind: str, database: str) -> None:
    called: list[int] = []
    names = (
        "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name <> 'fixture'"
    )
    async with pool_of(kind, database, lambda: called.append(threading.get_ident())) as pool:
        async with AsyncClient(pool) as client, Worker(pool, [reading]) as worker:
            await until(lambda: worker.status().is_listening)
            handle = await client.begin(reading)
            assert await handle.result(timeout=15) == TEXT
            found = await rows(database, names)
            assert set(found) == {("as the pool",)}
            assert len(found) >= 6  # the engine's, the lease's, the listener's, …
            if "function" in kind:
                assert len(called) >= 6


async def test_what_a_function_awaits_is_awaited_in_the_loop_of_the_worker(database: str) -> None:
    loop = asyncio.get_running_loop()
    loops: set[Any] = set()

    async def conninfo() -> str:
        loops.add(asyncio.get_running_loop())
        return database

    async with AsyncConnectionPool(conninfo, min_size=1, open=False) as pool, Worker(pool, [reading]) as worker:
        await until(lambda: worker.status().is_listening)
    assert loops == {loop}


# their number


@pytest.mark.parametrize("most", [LEAST_CONNECTIONS, 9, DEFAULT_CONNECTIONS])
async def test_a_worker_never_has_more_connections_than_it_may(most: int, database: str) -> None:
    named = make_conninfo(database, application_name="the worker")
    counted = "SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'the worker'"
    peak = 0
    async with (
        AsyncClient(database) as client,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as look,
    ):
        async with Worker(named, [reading], max_connections=most):
            handles = [client.handle(key, reading) for key in await client.begin_many(reading, [None] * 200)]
            results = asyncio.gather(*(handle.result(timeout=60) for handle in handles))
            while not results.done():
                cursor = await look.execute(counted)
                peak = max(peak, (await cursor.fetchall())[0][0])
            assert await results == [TEXT] * 200
    assert 4 < peak <= most


@pytest.mark.parametrize("most", [0, LEAST_CONNECTIONS - 1, 6.5, True])
def test_fewer_connections_than_a_worker_needs_are_refused(most: Any, database: str) -> None:
    with pytest.raises(InvalidArgument, match="max_connections"):
        Worker(database, [reading], max_connections=most)


class ProactorEventLoop(asyncio.SelectorEventLoop):
    """What Windows would take; it is known by its name."""


def test_the_usual_loop_of_windows_is_refused_at_once(database: str) -> None:
    with asyncio.Runner(loop_factory=ProactorEventLoop) as runner:
        with pytest.raises(DurableError, match="SelectorEventLoop"):
            runner.run(Worker(database, [reading]).run())
