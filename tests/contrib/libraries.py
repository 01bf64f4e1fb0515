"""One suite for all libraries: each opens a transaction with the same few methods, awaited, of its own colour."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import django
import django.conf
import django.db
import psycopg
import sqlalchemy
from django.db import transaction as django_transaction
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from durable.client.async_client import AsyncClient
from durable.client.client import Client
from durable.postgres.drive import run, run_async
from durable.postgres.transactions import async_execute, sync_execute
from durable.store.operation import Operation
from durable.store.statement import T

django.conf.settings.configure(
    DATABASES={
        "default": {"ENGINE": "django.db.backends.postgresql"},
        "elsewhere": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    },
    TIME_ZONE="Asia/Tokyo",
)
django.setup()


class Transaction:
    """``tx`` is what a client is given; ``error`` is what the library makes of the server's errors."""

    is_async = False
    error: type[Exception]
    tx: Any

    def execute(self, sql: str) -> Any: ...
    def commit(self) -> Any: ...
    def rollback(self) -> Any: ...
    def savepoint(self) -> Any:
        """Sets one; what it returns goes back to it."""

    def close(self) -> Any: ...


class Psycopg(Transaction):
    error = psycopg.Error

    def __init__(self, conninfo: str) -> None:
        self.tx = psycopg.connect(conninfo)

    def execute(self, sql: str) -> None:
        self.tx.execute(sql)

    def commit(self) -> None:
        self.tx.commit()

    def rollback(self) -> None:
        self.tx.rollback()

    def savepoint(self) -> Callable[[], None]:
        self.tx.execute("SAVEPOINT ours")
        return lambda: self.tx.execute("ROLLBACK TO ours")

    def close(self) -> None:
        self.tx.close()


class AsyncPsycopg(Transaction):
    is_async = True
    error = psycopg.Error

    async def open(self, conninfo: str) -> None:
        self.tx = await psycopg.AsyncConnection.connect(conninfo)

    async def execute(self, sql: str) -> None:
        await self.tx.execute(sql)

    async def commit(self) -> None:
        await self.tx.commit()

    async def rollback(self) -> None:
        await self.tx.rollback()

    async def savepoint(self) -> Any:
        await self.tx.execute("SAVEPOINT ours")
        return lambda: self.tx.execute("ROLLBACK TO ours")

    async def close(self) -> None:
        await self.tx.close()


class SQLAlchemy(Transaction):
    error = sqlalchemy.exc.DBAPIError

    def __init__(self, conninfo: str, driver: str, kind: str) -> None:
        options = parts(conninfo, "database" if driver == "pg8000" else "dbname")
        if driver == "pg8000" and options["host"].startswith("/"):
            options["unix_sock"] = f"{options.pop('host')}/.s.PGSQL.{options['port']}"
        self.engine = sqlalchemy.create_engine(f"postgresql+{driver}://", connect_args=options)
        match kind:
            case "connection":
                self.tx = self.engine.connect()
            case "session":
                self.tx = Session(self.engine)
            case "scoped":
                self.tx = scoped_session(sessionmaker(self.engine))

    def execute(self, sql: str) -> None:
        self.tx.execute(sqlalchemy.text(sql))

    def commit(self) -> None:
        self.tx.commit()

    def rollback(self) -> None:
        self.tx.rollback()

    def savepoint(self) -> Callable[[], None]:
        return self.tx.begin_nested().rollback  # type: ignore[no-any-return]

    def close(self) -> None:
        self.tx.close()
        self.engine.dispose()


class AsyncSQLAlchemy(Transaction):
    is_async = True
    error = sqlalchemy.exc.DBAPIError

    async def open(self, conninfo: str, driver: str, kind: str) -> None:
        options = parts(conninfo, "database" if driver == "asyncpg" else "dbname")
        self.engine = create_async_engine(f"postgresql+{driver}://", connect_args=options)
        match kind:
            case "connection":
                self.tx = await self.engine.connect()
            case "session":
                self.tx = AsyncSession(self.engine)
            case "scoped":
                self.tx = async_scoped_session(async_sessionmaker(self.engine), asyncio.current_task)

    async def execute(self, sql: str) -> None:
        await self.tx.execute(sqlalchemy.text(sql))

    async def commit(self) -> None:
        await self.tx.commit()

    async def rollback(self) -> None:
        await self.tx.rollback()

    async def savepoint(self) -> Any:
        return (await self.tx.begin_nested()).rollback

    async def close(self) -> None:
        await self.tx.close()
        await self.engine.dispose()


class Django(Transaction):
    error = django.db.Error

    def __init__(self, conninfo: str, kind: str) -> None:
        # Without time zones Django reads naive datetimes, and with binding on the server parameters have types.
        django.conf.settings.USE_TZ = kind == "proxy"
        options = parts(conninfo, "dbname") | {"server_side_binding": kind == "server-side"}
        django.db.connections.settings["default"].update(NAME=options.pop("dbname"), OPTIONS=options)
        self.tx = django.db.connection if kind == "proxy" else django.db.connections["default"]
        self.tx.close()
        self._begin()

    def _begin(self) -> None:
        self.atomic = django_transaction.atomic()
        self.atomic.__enter__()

    def execute(self, sql: str) -> None:
        with self.tx.cursor() as cursor:
            cursor.execute(sql)

    def commit(self) -> None:
        self.atomic.__exit__(None, None, None)
        self._begin()

    def rollback(self) -> None:
        django_transaction.set_rollback(True)
        self.commit()

    def savepoint(self) -> Callable[[], None]:
        point = django_transaction.savepoint()
        return lambda: django_transaction.savepoint_rollback(point)

    def close(self) -> None:
        django_transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)
        self.tx.close()


class Asyncpg(Transaction):
    is_async = True
    error = asyncpg.PostgresError
    pool: Any = None

    async def open(self, conninfo: str, kind: str) -> None:
        options = parts(conninfo, "database")
        if kind == "pool":
            self.pool = await asyncpg.create_pool(**options, min_size=1, max_size=1, init=encode_anew)
            self.tx = await self.pool.acquire()
        else:
            self.tx = await asyncpg.connect(**options)
        await self._begin()

    async def _begin(self) -> None:
        self.transaction = self.tx.transaction()
        await self.transaction.start()

    async def execute(self, sql: str) -> None:
        await self.tx.execute(sql)

    async def commit(self) -> None:
        await self.transaction.commit()
        await self._begin()

    async def rollback(self) -> None:
        await self.transaction.rollback()
        await self._begin()

    async def savepoint(self) -> Any:
        nested = self.tx.transaction()
        await nested.start()
        return nested.rollback

    async def close(self) -> None:
        await self.transaction.rollback()
        if self.pool is None:
            await self.tx.close()
        else:
            await self.pool.release(self.tx)
            await self.pool.close()


async def encode_anew(connection: Any) -> None:
    """What asyncpg's manual recommends to applications, and what must not touch our parameters."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    await connection.set_type_codec("uuid", encoder=lambda value: value.hex, decoder=UUID, schema="pg_catalog")


SYNC: dict[str, tuple[Any, ...]] = {
    "psycopg": (Psycopg,),
    "sqlalchemy-connection": (SQLAlchemy, "psycopg", "connection"),
    "sqlalchemy-session": (SQLAlchemy, "psycopg", "session"),
    "sqlalchemy-scoped_session": (SQLAlchemy, "psycopg", "scoped"),
    "sqlalchemy-psycopg2": (SQLAlchemy, "psycopg2", "connection"),
    "sqlalchemy-pg8000": (SQLAlchemy, "pg8000", "connection"),
    "django-connection": (Django, "proxy"),
    "django-server_side_binding": (Django, "server-side"),
}
ASYNC: dict[str, tuple[Any, ...]] = {
    "psycopg-async": (AsyncPsycopg,),
    "sqlalchemy-async_connection": (AsyncSQLAlchemy, "psycopg", "connection"),
    "sqlalchemy-async_session": (AsyncSQLAlchemy, "psycopg", "session"),
    "sqlalchemy-asyncpg": (AsyncSQLAlchemy, "asyncpg", "connection"),
    "sqlalchemy-asyncpg-async_session": (AsyncSQLAlchemy, "asyncpg", "session"),
    "sqlalchemy-asyncpg-async_scoped_session": (AsyncSQLAlchemy, "asyncpg", "scoped"),
    "asyncpg": (Asyncpg, "connection"),
    "asyncpg-pool": (Asyncpg, "pool"),
}


class Opened:
    """A transaction and a client of its colour, everything awaited."""

    def __init__(self, transaction: Transaction, client: Any, call: Callable[..., Any]) -> None:
        self.transaction, self.client, self._call = transaction, client, call
        self.tx, self.error, self.is_async = transaction.tx, transaction.error, transaction.is_async

    async def begin_tx(self, *args: Any, **options: Any) -> Any:
        return await self._call(self.client.begin_tx, self.tx, *args, **options)

    async def publish_event_tx(self, *args: Any, **options: Any) -> None:
        await self._call(self.client.publish_event_tx, self.tx, *args, **options)

    async def call_tx(self, method: str, *args: Any, **options: Any) -> Any:
        return await self._call(getattr(self.client, method), self.tx, *args, **options)

    async def execute(self, sql: str) -> None:
        await self._call(self.transaction.execute, sql)

    async def commit(self) -> None:
        await self._call(self.transaction.commit)

    async def rollback(self) -> None:
        await self._call(self.transaction.rollback)

    @asynccontextmanager
    async def rolled_back(self) -> AsyncIterator[None]:
        """A savepoint that is rolled back in the end."""
        back = await self._call(self.transaction.savepoint)
        try:
            yield
        finally:
            await self._call(back)

    async def operate(self, operation: Operation[T]) -> T:
        result: T = await self._call(run_async if self.is_async else run, self.tx, "durable", operation)
        return result

    async def read(self, sql: str, params: Mapping[str, Any]) -> Any:
        return await self._call((async_execute if self.is_async else sync_execute)(self.tx), sql, params)


def open_transaction(kind: str, conninfo: str) -> AbstractAsyncContextManager[Opened]:
    return _open_sync(conninfo, *SYNC[kind]) if kind in SYNC else _open_async(conninfo, *ASYNC[kind])


@asynccontextmanager
async def _open_sync(conninfo: str, make: Any, *arguments: str) -> AsyncIterator[Opened]:
    async def call(function: Any, *args: Any, **options: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(thread, lambda: function(*args, **options))

    # One thread: Django's connections belong to theirs.
    with ThreadPoolExecutor(max_workers=1) as thread, Client(conninfo) as client:
        transaction = await call(make, conninfo, *arguments)
        try:
            yield Opened(transaction, client, call)
        finally:
            await call(transaction.close)


@asynccontextmanager
async def _open_async(conninfo: str, make: Any, *arguments: str) -> AsyncIterator[Opened]:
    async def call(function: Any, *args: Any, **options: Any) -> Any:
        return await function(*args, **options)

    transaction = make()
    await transaction.open(conninfo, *arguments)
    async with AsyncClient(conninfo) as client:
        try:
            yield Opened(transaction, client, call)
        finally:
            await transaction.close()


def parts(conninfo: str, database: str) -> dict[str, Any]:
    """The conninfo as keywords; ``database`` is the driver's word for it."""
    known = conninfo_to_dict(conninfo)
    named = {name: str(known[name]) for name in ("host", "user", "password") if name in known}
    return named | {"port": int(known.get("port", 5432)), database: str(known["dbname"])}
