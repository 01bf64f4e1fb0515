"""Runs operations on a worker's connection, each batch in one round trip.

``connection`` is in autocommit. Between ``Begin`` and ``Commit`` one pipeline stays open, because psycopg's own
transaction block would wait for the server three times more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from durable.store.operation import Operation, Running
from durable.store.statement import Batch, Begin, Commit, Compute, Rows, Statement, T


async def run(
    connection: AsyncConnection[Any], schema: str, operation: Operation[T], settings: Sequence[LiteralString] = ()
) -> T:
    """Runs an operation to its end. An error is raised inside the operation, after any open transaction has been rolled
    back. ``settings`` are statements that open each transaction; if there are any, every batch is a transaction."""
    running = Running(operation)
    while (request := running.request) is not None:
        try:
            match request:
                case Begin() | Commit():
                    await _transaction(connection, schema, running, request, settings)
                case Batch():
                    running.answer(await _round_trip(connection, schema, request.statements, settings))
                case Compute():
                    running.answer(await asyncio.to_thread(request.function))
        except Exception as error:
            running.fail(error)  # if the error is the operation's own, it has ended, and this raises the error again
    return running.result


async def _round_trip(
    connection: AsyncConnection[Any],
    schema: str,
    statements: Sequence[Statement[Any]],
    settings: Sequence[LiteralString],
) -> Sequence[Rows]:
    if not statements:
        return []
    if len(statements) == 1 and not settings:
        return [await _receive(await _send(connection, schema, statements[0]))]
    async with _pipeline(connection):
        if settings:
            await _begin(connection, settings)
        cursors = [await _send(connection, schema, statement) for statement in statements]
        if settings:
            await connection.execute("COMMIT")
    return [await _receive(cursor) for cursor in cursors]


async def _transaction(
    connection: AsyncConnection[Any],
    schema: str,
    running: Running[T],
    first: Begin | Commit,
    settings: Sequence[LiteralString],
) -> None:
    """Runs the operation up to its commit, and gives it the answers to the commit. If it ends before that, the
    transaction is rolled back."""
    request: Batch = first
    try:
        async with _pipeline(connection) as pipeline:
            await _begin(connection, settings)
            while True:
                cursors = [await _send(connection, schema, statement) for statement in request.statements]
                if isinstance(request, Commit):
                    await connection.execute("COMMIT")
                    cursors += [await _send(connection, schema, statement) for statement in request.then]
                    break
                await pipeline.sync()
                running.answer([await _receive(cursor) for cursor in cursors])
                while isinstance(running.request, Compute):
                    running.answer(await asyncio.to_thread(running.request.function))
                if running.request is None:
                    await connection.execute("ROLLBACK")
                    return
                request = running.request
    except BaseException:
        with suppress(psycopg.Error):
            await connection.rollback()
        raise
    running.answer([await _receive(cursor) for cursor in cursors])


@asynccontextmanager
async def _pipeline(connection: AsyncConnection[Any]) -> AsyncGenerator[AsyncPipeline]:
    try:
        async with connection.pipeline() as pipeline:
            yield pipeline
    except BaseException as error:
        # psycopg loses count of the answers if a commit that no statement asked for fails at the end of a pipeline.
        is_stuck = not connection.closed and connection.info.pipeline_status != PipelineStatus.OFF
        is_lost = is_stuck or isinstance(error, IndexError)
        if is_lost:
            await connection.close()
        elif connection.info.transaction_status == TransactionStatus.IDLE:
            # psycopg also takes statements that were skipped after a failure to be prepared, until it sees a
            # transaction rolled back.
            with suppress(psycopg.Error):
                await connection.execute("BEGIN")
                await connection.rollback()
        if is_lost and isinstance(error, Exception):
            raise psycopg.OperationalError("the answers of a pipeline were lost") from error
        raise


async def _begin(connection: AsyncConnection[Any], settings: Sequence[LiteralString]) -> None:
    await connection.execute("BEGIN")
    for setting in settings:
        await connection.execute(setting)


async def _send(connection: AsyncConnection[Any], schema: str, statement: Statement[Any]) -> AsyncCursor[Any]:
    # A separate cursor: the connection may be set up for dictionaries, or for parameters in another form.
    cursor = AsyncCursor(connection, row_factory=tuple_row)
    return await cursor.execute(statement.query.text(schema), statement.params)


async def _receive(cursor: AsyncCursor[Any]) -> Rows:
    return await cursor.fetchall() if cursor.description else []
