"""The caller's transaction, whatever library it comes from: it only has to run a statement.

Transactions of psycopg are handled here. For another library, name the module of its adapter in ``_ADAPTERS``; it is
imported only when an object of that library turns up. An adapter never begins, commits or rolls back. It raises
``NotInTransaction`` if each statement would be committed by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any, LiteralString, Protocol, TypeAlias, cast

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from durable.core.errors import NotInTransaction
from durable.postgres.encoding import async_in_utf8, in_utf8
from durable.store.statement import Rows

# These are for type checkers. They are protocols instead of imports, because if a library is not installed, its names
# would turn into Any, and so would the annotation.


class SQLAlchemyTransaction(Protocol):
    """``Connection``, ``Session``, ``scoped_session``."""

    def begin_nested(self) -> object: ...
    def commit(self) -> None: ...


class AsyncSQLAlchemyTransaction(Protocol):
    """``AsyncConnection``, ``AsyncSession``, ``async_scoped_session``."""

    def begin_nested(self) -> object: ...
    def commit(self) -> Awaitable[None]: ...


class DjangoConnection(Protocol):
    """``connections[…]``, and ``django.db.connection`` as declared by django-stubs."""

    def savepoint(self) -> object: ...
    def validate_no_broken_transaction(self) -> object: ...


class DjangoConnectionProxy(Protocol):
    """``django.db.connection`` as declared by its source."""

    def __getattr__(self, item: str, /) -> Any: ...
    def __contains__(self, key: Any, /) -> bool: ...


class AsyncpgConnection(Protocol):
    """``Connection``, and ``PoolConnectionProxy`` as declared by asyncpg-stubs."""

    def is_in_transaction(self) -> bool: ...
    def reset_type_codec(self, typename: str, /) -> Awaitable[None]: ...


class AsyncpgConnectionProxy(Protocol):
    """``PoolConnectionProxy`` as declared by its source."""

    def __getattr__(self, attr: str, /) -> Any: ...
    def _detach(self) -> object: ...


SyncTransaction: TypeAlias = (
    Connection[Any] | Cursor[Any] | SQLAlchemyTransaction | DjangoConnection | DjangoConnectionProxy
)
"""The transaction to take part in: a psycopg connection or one of its cursors, an SQLAlchemy connection or session, or
a Django connection."""
AsyncTransaction: TypeAlias = (
    AsyncConnection[Any] | AsyncCursor[Any] | AsyncSQLAlchemyTransaction | AsyncpgConnection | AsyncpgConnectionProxy
)
"""The async counterpart, from psycopg, SQLAlchemy or asyncpg."""

Execute: TypeAlias = Callable[[LiteralString, Mapping[str, Any]], Rows]
"""Runs one statement, given as SQL with parameters such as ``%(run_id)s`` and their values. The rows are tuples; there
are none if the statement returns none."""
AsyncExecute: TypeAlias = Callable[[LiteralString, Mapping[str, Any]], Awaitable[Rows]]

_ADAPTERS: dict[str, str] = {
    "asyncpg": "durable.contrib.asyncpg",
    "django": "durable.contrib.django",
    "sqlalchemy": "durable.contrib.sqlalchemy",
}
"""Maps the top-level package of the object's class to a module with ``sync_execute(tx) -> Execute | None`` and
``async_execute(tx) -> AsyncExecute | None``. ``None`` means that the object is not one that the module handles, or that
it is async for the former or sync for the latter."""

_SYNC = "a psycopg.Connection or psycopg.Cursor, SQLAlchemy's Connection or Session, or Django's connection"
_ASYNC = (
    "a psycopg.AsyncConnection or psycopg.AsyncCursor, SQLAlchemy's AsyncConnection or AsyncSession, "
    "or asyncpg's Connection"
)


def check_open(tx: object) -> None:
    """Raises ``NotInTransaction`` for a psycopg connection in autocommit mode without an open transaction. The adapters
    check the connections of the other libraries."""
    connection = _connection(tx, Connection, Cursor)
    if connection is not None and connection.autocommit:
        _receive_all(connection)
        _check_status(connection)


async def check_open_async(tx: object) -> None:
    """The async counterpart of ``check_open``."""
    connection = _connection(tx, AsyncConnection, AsyncCursor)
    if connection is not None and connection.autocommit:
        await _receive_all_async(connection)
        _check_status(connection)


def _check_status(connection: Connection[Any] | AsyncConnection[Any]) -> None:
    if connection.info.transaction_status == TransactionStatus.IDLE:
        opening = "async with" if isinstance(connection, AsyncConnection) else "with"
        raise NotInTransaction(_name(connection), f"`{opening} connection.transaction():`")


def sync_execute(tx: object) -> Execute:
    """Returns how to run a statement in this transaction. Raises ``TypeError`` for an object that is not accepted."""
    found = _sync_execute(tx)
    if found is not None:
        return found
    if _async_execute(tx) is not None:
        raise TypeError(f"tx is a {_name(tx)}, which is async; use AsyncClient, whose methods are awaited")
    raise TypeError(f"tx must be {_SYNC}, got a {_name(tx)}")


def async_execute(tx: object) -> AsyncExecute:
    """Returns how to run a statement in this async transaction. Raises ``TypeError`` for an object that is not
    accepted."""
    found = _async_execute(tx)
    if found is not None:
        return found
    if _sync_execute(tx) is not None:
        raise TypeError(f"tx is a {_name(tx)}, which is sync; use Client, whose methods are not awaited")
    raise TypeError(f"tx must be {_ASYNC}, got a {_name(tx)}")


def _sync_execute(tx: object) -> Execute | None:
    connection = _connection(tx, Connection, Cursor)
    if connection is not None:
        return _on_connection(connection)
    return cast(Execute | None, _adapted(tx, "sync_execute"))


def _async_execute(tx: object) -> AsyncExecute | None:
    connection = _connection(tx, AsyncConnection, AsyncCursor)
    if connection is not None:
        return _on_async_connection(connection)
    return cast(AsyncExecute | None, _adapted(tx, "async_execute"))


def _connection(tx: Any, connection: type[Any], cursor: type[Any]) -> Any:
    if isinstance(tx, connection):
        return tx
    return tx.connection if isinstance(tx, cursor) else None


# A separate cursor instead of connection.cursor(): the connection may be set up for dictionaries or for $1 parameters.


def _on_connection(connection: Connection[Any]) -> Execute:
    def execute(sql: LiteralString, params: Mapping[str, Any]) -> Rows:
        with in_utf8(connection), Cursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(sql, params)
            _receive_all(connection)
            return cursor.fetchall() if cursor.description else []

    return execute


def _on_async_connection(connection: AsyncConnection[Any]) -> AsyncExecute:
    async def execute(sql: LiteralString, params: Mapping[str, Any]) -> Rows:
        async with async_in_utf8(connection), AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(sql, params)
            await _receive_all_async(connection)
            return await cursor.fetchall() if cursor.description else []

    return execute


# If the caller has opened a pipeline, neither rows nor the state of the transaction are known before it is synced.


def _receive_all(connection: Connection[Any]) -> None:
    if connection.info.pipeline_status != PipelineStatus.OFF:
        with connection.pipeline() as pipeline:
            pipeline.sync()


async def _receive_all_async(connection: AsyncConnection[Any]) -> None:
    if connection.info.pipeline_status != PipelineStatus.OFF:
        async with connection.pipeline() as pipeline:
            await pipeline.sync()


def _adapted(tx: object, function: str) -> object:
    for base in type(tx).__mro__:
        adapter = _ADAPTERS.get(str(base.__module__).partition(".")[0])
        if adapter is not None:
            return getattr(import_module(adapter), function)(tx)
    return None


def _name(tx: object) -> str:
    return f"{type(tx).__module__}.{type(tx).__qualname__}"
