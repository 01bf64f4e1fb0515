"""SQLAlchemy 2 on Postgres, with any driver.

Statements go through SQLAlchemy rather than past it to the driver: otherwise it would not know that a transaction has
begun, and its ``commit`` would do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, LiteralString

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from durable.core.errors import NotInTransaction
from durable.postgres.transactions import AsyncExecute, Execute
from durable.store.statement import Rows

_PLACEHOLDER = re.compile(r"%\((\w+)\)s")
_COLON = re.compile(r"(?<![:\w\\]):(?=\w)")


def sync_execute(tx: object) -> Execute | None:
    """Returns how to run a statement on a ``Connection``, or on the connection of a ``Session``, whose pending objects
    stay pending."""
    if not isinstance(tx, Connection | Session | scoped_session):
        return None

    def execute(sql: LiteralString, params: Mapping[str, Any]) -> Rows:
        return _execute(tx if isinstance(tx, Connection) else tx.connection(), sql, params)

    return execute


def async_execute(tx: object) -> AsyncExecute | None:
    """Returns the async counterpart of ``sync_execute``."""
    if not isinstance(tx, AsyncConnection | AsyncSession | async_scoped_session):
        return None

    async def execute(sql: LiteralString, params: Mapping[str, Any]) -> Rows:
        connection = tx if isinstance(tx, AsyncConnection) else await tx.connection()
        return await connection.run_sync(_execute, sql, params)

    return execute


def _execute(connection: Connection, sql: LiteralString, params: Mapping[str, Any]) -> Rows:
    if connection.dialect.name != "postgresql":
        raise TypeError(f"tx must be an SQLAlchemy connection to postgresql, got one to {connection.dialect.name}")
    # Then SQLAlchemy sends no BEGIN, and its own commit and rollback do nothing.
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        raise NotInTransaction(
            "SQLAlchemy connection in AUTOCOMMIT",
            'with another isolation level than "AUTOCOMMIT": `with engine.begin():`',
        )
    result = connection.execute(_clause(sql), dict(params))
    return [tuple(row) for row in result] if result.returns_rows else []


@cache
def _clause(sql: str) -> TextClause:
    # In parentheses, because SQLAlchemy does not recognize a name before a cast as a parameter. The parameters are
    # untyped: the server infers their types.
    return text(_PLACEHOLDER.sub(r"(:\1)", _COLON.sub(r"\:", sql)).replace("%%", "%"))
