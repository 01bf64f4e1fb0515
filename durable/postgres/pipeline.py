"""Statements in as few round trips as possible."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import psycopg
from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline
from psycopg.pq import PipelineStatus, TransactionStatus

from durable.postgres.silence import ANSWER_SECONDS, answering
from durable.store.statement import Statement, T

Following: TypeAlias = Callable[[list[Any]], Sequence[Statement[Any]]]
"""What the answers to the statements before lead to."""


async def run(connection: AsyncConnection[Any], statement: Statement[T]) -> T:
    """Runs one statement and reads its rows."""
    return await _receive(await _send(connection, statement), statement)


async def answer_of(connection: AsyncConnection[Any], statement: Statement[T], seconds: float = ANSWER_SECONDS) -> T:
    """As ``run``, and hangs up where the answer does not come in time."""
    with answering(connection, seconds):
        return await run(connection, statement)


async def read_all(connection: AsyncConnection[Any], statements: Sequence[Statement[Any]]) -> list[Any]:
    """Runs statements in one round trip, in order; in none where there are none."""
    if not statements:
        return []
    async with _pipeline(connection):
        cursors = [await _send(connection, statement) for statement in statements]
    return await _receive_all(cursors, statements)


async def commit(
    connection: AsyncConnection[Any],
    statements: Sequence[Statement[Any]],
    *,
    following: Sequence[Following] = (),
    then: Sequence[Statement[Any]] = (),
) -> list[Any]:
    """Runs statements in one transaction, and ``then`` others after its commit, all in one round trip; returns their
    answers. Where answers decide on more in the transaction, what is ``following``, each such stage takes one more."""
    answers: list[Any] = []
    last: list[Any] = []
    rest = statements
    async with _transaction(connection) as pipeline:
        cursors = [await _send(connection, statement) for statement in statements]
        for stage in following:
            await pipeline.sync()
            last = await _receive_all(cursors, rest)
            answers += last
            rest = stage(last)
            cursors = [await _send(connection, statement) for statement in rest]
        await connection.execute("COMMIT")
        cursors.extend([await _send(connection, statement) for statement in then])
    return [*answers, *await _receive_all(cursors, [*rest, *then])]


@asynccontextmanager
async def _transaction(connection: AsyncConnection[Any]) -> AsyncGenerator[AsyncPipeline]:
    """A transaction that the block ends by a COMMIT. psycopg's own would wait for the answers three times."""
    try:
        async with _pipeline(connection) as pipeline:
            await connection.execute("BEGIN")
            yield pipeline
    except BaseException:
        with suppress(psycopg.Error):
            await connection.rollback()
        raise


@asynccontextmanager
async def _pipeline(connection: AsyncConnection[Any]) -> AsyncGenerator[AsyncPipeline]:
    try:
        async with connection.pipeline() as pipeline:
            yield pipeline
    except BaseException as error:
        # psycopg loses count of the answers where a commit fails that no statement asks for, at the end of a pipeline.
        is_stuck = not connection.closed and connection.info.pipeline_status != PipelineStatus.OFF
        is_lost = is_stuck or isinstance(error, IndexError)
        if is_lost:
            await connection.close()
        elif connection.info.transaction_status == TransactionStatus.IDLE:
            # And it takes for prepared what was skipped after a failure, until it sees a transaction rolled back.
            with suppress(psycopg.Error):
                await connection.execute("BEGIN")
                await connection.rollback()
        if is_lost and isinstance(error, Exception):
            raise psycopg.OperationalError("the answers of a pipeline were lost") from error
        raise


async def _send(connection: AsyncConnection[Any], statement: Statement[Any]) -> AsyncCursor[Any]:
    return await connection.execute(statement.sql, statement.params)


async def _receive_all(cursors: Sequence[AsyncCursor[Any]], statements: Sequence[Statement[Any]]) -> list[Any]:
    return [await _receive(cursor, statement) for cursor, statement in zip(cursors, statements, strict=True)]


async def _receive(cursor: AsyncCursor[Any], statement: Statement[T]) -> T:
    return statement.read(await cursor.fetchall() if cursor.description else [])
