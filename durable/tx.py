"""The caller's transaction, whatever it is: all that is asked of it is to run a statement.

psycopg's are known here. For another library, name the module of its adapter in ``_ADAPTERS``; it is imported only
where an object of that library turns up. An adapter never begins, commits or rolls back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Any, TypeAlias, cast

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.rows import tuple_row

from durable.store.statement import Row, Statement

SyncTransaction: TypeAlias = Connection[Any] | Cursor[Any]
"""A psycopg connection in the transaction it is to take part in, or a cursor of one."""
AsyncTransaction: TypeAlias = AsyncConnection[Any] | AsyncCursor[Any]
"""The same of the other colour."""

Execute: TypeAlias = Callable[[Statement[Any]], Sequence[Row]]
"""Runs one statement; its rows are tuples, none where it returns none."""
AsyncExecute: TypeAlias = Callable[[Statement[Any]], Awaitable[Sequence[Row]]]

_ADAPTERS: dict[str, str] = {}
"""Top-level package of the object's class → module with ``sync_execute(tx) -> Execute | None`` and
``async_execute(tx) -> AsyncExecute | None``; ``None``: not an object it knows."""


def sync_execute(tx: object) -> Execute:
    """How to run a statement in this transaction. Raises ``TypeError`` for what is not accepted."""
    connection = _connection(tx, Connection, Cursor)
    if connection is not None:
        return _on_connection(connection)
    if _connection(tx, AsyncConnection, AsyncCursor) is not None:
        raise TypeError(f"tx is a {_name(tx)}, which is async; use AsyncClient, whose methods are awaited")
    found = _adapted(tx, "sync_execute")
    if found is None:
        raise TypeError(f"tx is a {_name(tx)}; a psycopg.Connection or psycopg.Cursor is accepted")
    return cast(Execute, found)


def async_execute(tx: object) -> AsyncExecute:
    """How to run a statement in this async transaction. Raises ``TypeError`` for what is not accepted."""
    connection = _connection(tx, AsyncConnection, AsyncCursor)
    if connection is not None:
        return _on_async_connection(connection)
    if _connection(tx, Connection, Cursor) is not None:
        raise TypeError(f"tx is a {_name(tx)}, which is sync; use Client, whose methods are not awaited")
    found = _adapted(tx, "async_execute")
    if found is None:
        raise TypeError(f"tx is a {_name(tx)}; a psycopg.AsyncConnection or psycopg.AsyncCursor is accepted")
    return cast(AsyncExecute, found)


def _connection(tx: Any, connection: type[Any], cursor: type[Any]) -> Any:
    if isinstance(tx, connection):
        return tx
    return tx.connection if isinstance(tx, cursor) else None


# A cursor of our own, not connection.cursor(): the connection may be set up for dictionaries or for $1 parameters.


def _on_connection(connection: Connection[Any]) -> Execute:
    def execute(statement: Statement[Any]) -> Sequence[Row]:
        with Cursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(statement.sql, statement.params)
            return cursor.fetchall() if cursor.description else []

    return execute


def _on_async_connection(connection: AsyncConnection[Any]) -> AsyncExecute:
    async def execute(statement: Statement[Any]) -> Sequence[Row]:
        async with AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(statement.sql, statement.params)
            return await cursor.fetchall() if cursor.description else []

    return execute


def _adapted(tx: object, function: str) -> object:
    for base in type(tx).__mro__:
        adapter = _ADAPTERS.get(base.__module__.partition(".")[0])
        if adapter is not None:
            return getattr(import_module(adapter), function)(tx)
    return None


def _name(tx: object) -> str:
    return f"{type(tx).__module__}.{type(tx).__qualname__}"
