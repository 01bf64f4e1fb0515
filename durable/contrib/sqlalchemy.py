"""SQLAlchemy 2 on Postgres, whatever the driver.

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

from durable.postgres.transactions import AsyncExecute, Execute
from durable.store.statement import Rows

_PLACEHOLDER = re.compile(r"%\((\w+)\)s")
_COLON = re.compile(r"(?<![:\w\\]):(?=\w)")


def sync_execute(tx: object) -> Execute | None:
    """In a ``Connection``, or in the one of a ``Session``, whose pending objects stay pending."""
    if not isinstance(tx, Connection | Session | scoped_session):
        return None

    def execute(sql: LiteralString, params: Mapping[str, Any]) -> Rows:
        return _execute(tx if isinstance(tx, Connection) else tx.connection(), sql, params)

    return execute


def async_execute(tx: object) -> AsyncExecute | None:
    """The same of the other colour."""
    if not isinstance(tx, AsyncConnection | AsyncSession | async_scoped_session):
        return None

    async def execute(sql: LiteralString, params: Mapping[str, Any]) -> Rows:
        connection = tx if isinstance(tx, AsyncConnection) else await tx.connection()
        return await connection.run_sync(_execute, sql, params)

    return execute


def _execute(connection: Connection, sql: LiteralString, params: Mapping[str, Any]) -> Rows:
    if connection.dialect.name != "postgresql":
        raise TypeError(f"tx is an SQLAlchemy connection to {connection.dialect.name}; one to postgresql is accepted")
    result = connection.execute(_clause(sql), dict(params))
    return [tuple(row) for row in result] if result.returns_rows else []


@cache
def _clause(sql: str) -> TextClause:
    # In brackets, since a name before a cast is not taken for a parameter. They bear no type: the server infers it.
    return text(_PLACEHOLDER.sub(r"(:\1)", _COLON.sub(r"\:", sql)).replace("%%", "%"))
