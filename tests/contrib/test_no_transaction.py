"""A connection on which no transaction is open is refused: a rollback would leave what was stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import django.db
import psycopg
import pytest
import sqlalchemy
from django.db import transaction as django_transaction
from psycopg_pool import AsyncConnectionPool
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from durable import AsyncClient, Client, Context, NotInTransaction, workflow
from tests.client.colours import rows
from tests.contrib.libraries import parts

REFUSED = r"is not in a transaction: use begin\(\), or open one \("


@workflow
async def greet(ctx: Context, name: str) -> str:
    return name


def runs_in(database: str) -> int:
    return int(rows(database, "SELECT count(*) FROM durable.runs")[0][0])


@pytest.mark.parametrize("taken", [lambda tx: tx, lambda tx: tx.cursor()], ids=["connection", "cursor"])
def test_psycopg_in_autocommit_mode(taken: Callable[[Any], Any], database: str) -> None:
    with Client(database) as client, psycopg.connect(database, autocommit=True) as connection:
        with pytest.raises(NotInTransaction, match=REFUSED + "`with connection.transaction"):
            client.begin_tx(taken(connection), greet, "Ada")
        with connection.pipeline(), pytest.raises(NotInTransaction, match=REFUSED):
            client.begin_tx(taken(connection), greet, "Ada")
        assert runs_in(database) == 0

        with connection.transaction():
            client.begin_tx(taken(connection), greet, "Ada")
        with connection.pipeline(), connection.transaction():
            client.begin_tx(taken(connection), greet, "Bob")
        connection.execute("BEGIN")
        client.begin_tx(taken(connection), greet, "Eve")
        connection.execute("COMMIT")
        assert runs_in(database) == 3


async def test_psycopg_in_autocommit_mode_async(database: str) -> None:
    async with (
        AsyncClient(database) as client,
        AsyncConnectionPool(database, kwargs={"autocommit": True}, max_size=1, min_size=1) as pool,
        pool.connection() as connection,
    ):
        with pytest.raises(NotInTransaction, match=REFUSED + "`async with connection.transaction"):
            await client.begin_tx(connection, greet, "Ada")
        async with connection.pipeline():
            with pytest.raises(NotInTransaction, match=REFUSED):
                await client.begin_tx(connection.cursor(), greet, "Ada")
        assert runs_in(database) == 0

        async with connection.pipeline(), connection.transaction():
            await client.begin_tx(connection, greet, "Ada")
        assert runs_in(database) == 1


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pg8000"])
@pytest.mark.parametrize("kind", [lambda connection: connection, Session], ids=["connection", "session"])
def test_sqlalchemy_in_autocommit(driver: str, kind: Callable[[Any], Any], database: str) -> None:
    options = parts(database, "database" if driver == "pg8000" else "dbname")
    if driver == "pg8000" and options["host"].startswith("/"):
        options["unix_sock"] = f"{options.pop('host')}/.s.PGSQL.{options['port']}"
    engine = sqlalchemy.create_engine(f"postgresql+{driver}://", connect_args=options, isolation_level="AUTOCOMMIT")
    with Client(database) as client, engine.connect() as connection, connection.begin():
        with pytest.raises(NotInTransaction, match=REFUSED + ".*AUTOCOMMIT"):
            client.begin_tx(kind(connection), greet, "Ada")
    engine.dispose()
    assert runs_in(database) == 0


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_sqlalchemy_in_autocommit_async(driver: str, database: str) -> None:
    options = parts(database, "database" if driver == "asyncpg" else "dbname")
    engine = create_async_engine(f"postgresql+{driver}://", connect_args=options)
    async with AsyncClient(database) as client, engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(NotInTransaction, match=REFUSED):
            await client.begin_tx(connection, greet, "Ada")
        with pytest.raises(NotInTransaction, match=REFUSED):
            await client.begin_tx(AsyncSession(connection), greet, "Ada")
    await engine.dispose()
    assert runs_in(database) == 0


@asynccontextmanager
async def _asyncpg(database: str, *, pooled: bool) -> AsyncIterator[Any]:
    options = parts(database, "database")
    if pooled:
        async with asyncpg.create_pool(**options, min_size=1, max_size=1) as pool, pool.acquire() as connection:
            yield connection
    else:
        connection = await asyncpg.connect(**options)
        yield connection
        await connection.close()


@pytest.mark.parametrize("pooled", [False, True], ids=["connection", "pool"])
async def test_asyncpg_outside_a_transaction(pooled: bool, database: str) -> None:  # noqa: FBT001
    async with AsyncClient(database) as client, _asyncpg(database, pooled=pooled) as connection:
        with pytest.raises(NotInTransaction, match=REFUSED):
            await client.begin_tx(connection, greet, "Ada")
        assert runs_in(database) == 0
        async with connection.transaction():
            await client.begin_tx(connection, greet, "Ada")
        assert runs_in(database) == 1
        with pytest.raises(TypeError, match="use AsyncClient"), Client(database) as sync:
            sync.begin_tx(connection, greet, "Ada")


async def test_django_outside_atomic(database: str) -> None:
    options = parts(database, "dbname")

    def in_its_thread() -> None:
        django.db.connections.settings["default"].update(NAME=options.pop("dbname"), OPTIONS=options)
        connection = django.db.connection
        connection.close()
        try:
            with Client(database) as client:
                with pytest.raises(NotInTransaction, match=REFUSED + "`with transaction.atomic"):
                    client.begin_tx(connection, greet, "Ada")
                assert runs_in(database) == 0
                with django_transaction.atomic():
                    client.begin_tx(connection, greet, "Ada")
                django_transaction.set_autocommit(False)
                client.begin_tx(connection, greet, "Bob")
                connection.rollback()
                django_transaction.set_autocommit(True)
        finally:
            connection.close()

    await asyncio.to_thread(in_its_thread)
    assert runs_in(database) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda client, tx: client.publish_event_tx(tx, "greet_0:00000000-0000-7000-8000-000000000000", "paid"),
        lambda client, tx: client.cancel_run_tx(tx, "greet_0:00000000-0000-7000-8000-000000000000"),
        lambda client, tx: client.retry_run_tx(tx, "greet_0:00000000-0000-7000-8000-000000000000"),
        lambda client, tx: client.get_run_info_tx(tx, "greet_0:00000000-0000-7000-8000-000000000000"),
        lambda client, tx: client.schedule_tx(tx, greet, "Ada", "daily", "0 9 * * *"),
        lambda client, tx: client.list_schedules_tx(tx),
    ],
    ids=["publish_event", "cancel_run", "retry_run", "get_run_info", "schedule", "list_schedules"],
)
def test_every_method_that_takes_a_transaction(call: Callable[[Any, Any], Any], database: str) -> None:
    with Client(database) as client, psycopg.connect(database, autocommit=True) as connection:
        with pytest.raises(NotInTransaction, match=REFUSED):
            call(client, connection)
        with connection.transaction(force_rollback=True), pytest.raises(Exception, match=r"there is no run|^$"):
            call(client, connection)
            raise ValueError
    assert rows(database, "SELECT count(*) FROM durable.schedules") == [(0,)]
