"""Runs operations on a transaction: the one place where a procedure gets its colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.rows import tuple_row

from durable.store.statement import Op, Row, Statement, T
from durable.tx import async_connection, sync_connection


def run(tx: object, operation: Op[T]) -> T:
    """Runs an operation to its end. Commits nothing. Raises ``TypeError`` for what is no transaction known to ``tx``."""
    rows: Sequence[Row] | None = None
    with sync_connection(tx).cursor(row_factory=tuple_row) as cursor:
        while True:
            try:
                statement: Statement[Any] = next(operation) if rows is None else operation.send(rows)
            except StopIteration as end:
                result: T = end.value
                return result
            cursor.execute(statement.sql, statement.params)
            rows = cursor.fetchall() if cursor.description else ()


async def run_async(tx: object, operation: Op[T]) -> T:
    """The same on an async transaction."""
    rows: Sequence[Row] | None = None
    async with async_connection(tx).cursor(row_factory=tuple_row) as cursor:
        while True:
            try:
                statement: Statement[Any] = next(operation) if rows is None else operation.send(rows)
            except StopIteration as end:
                result: T = end.value
                return result
            await cursor.execute(statement.sql, statement.params)
            rows = await cursor.fetchall() if cursor.description else ()
