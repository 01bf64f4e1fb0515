"""Pipelines that fail, or whose caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, LiteralString

import msgspec
import psycopg
import pytest

from durable.postgres.outages import is_outage
from durable.postgres.pipeline import run
from durable.store.operation import Operation, operation
from durable.store.statement import Batch, Begin, Commit, NoRow, Query, Requests, Statement, nothing, one


class Number(msgspec.Struct, frozen=True):
    number: int


class _Asked(Query[Any]):
    """A query without a file, declared nowhere."""

    def __init__(self, sql: LiteralString, row: type[Any]) -> None:
        self.name, self.row, self._sql = sql, row, sql

    def text(self, schema: str) -> LiteralString:
        return self._sql


def effect(sql: LiteralString) -> Statement[None]:
    return _Asked(sql, NoRow).statement({}, nothing)


def number(sql: LiteralString) -> Statement[int]:
    return _Asked(sql, Number).statement({}, lambda rows: int(one(rows).number))


BREAK_THE_CONSTRAINT = effect("INSERT INTO later VALUES (1, 2)")
COUNT = number("SELECT count(*) FROM later")


@operation
def transaction(first: Sequence[Statement[Any]], second: Sequence[Statement[Any]]) -> Requests[list[Any]]:
    """In two round trips."""
    yield from Begin(first)
    return (yield from Commit(second))


async def test_a_commit_that_fails_is_raised_as_what_it_is(database: str) -> None:
    for committing in (Commit([BREAK_THE_CONSTRAINT]), transaction([BREAK_THE_CONSTRAINT], [COUNT])):
        async with await _with_late_constraint(database) as connection:
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                await run(connection, "durable", committing)
            assert await run(connection, "durable", COUNT) == 0


async def test_a_commit_that_no_statement_asked_for_and_that_fails_is_taken_for_an_outage(database: str) -> None:
    async with await _with_late_constraint(database) as connection:
        with pytest.raises(psycopg.OperationalError) as raised:
            await run(connection, "durable", Batch([COUNT, BREAK_THE_CONSTRAINT]))
        assert is_outage(raised.value)
        assert connection.closed


async def test_what_a_failed_pipeline_has_skipped_is_not_taken_for_prepared(database: str) -> None:
    soon = effect("SELECT 1 / 0")
    failing = (
        Commit([BREAK_THE_CONSTRAINT], then=[COUNT]),
        Batch([soon, COUNT]),
        transaction([soon, COUNT], []),
        transaction([], [soon, COUNT]),
    )
    for times in range(8):  # psycopg prepares what it has met five times
        async with await _with_late_constraint(database) as connection:
            for _ in range(times):
                await run(connection, "durable", COUNT)
            for broken in failing:
                with pytest.raises(psycopg.Error):
                    await run(connection, "durable", broken)
                assert await run(connection, "durable", COUNT) == 0


@pytest.mark.parametrize("form", [Commit, Batch, lambda statements: transaction(statements, [])])
async def test_whoever_is_cancelled_in_a_pipeline_is_cancelled(
    database: str, form: Callable[[Sequence[Statement[Any]]], Operation[Any]]
) -> None:
    sleeping = form([effect("SELECT pg_sleep(60)"), number("SELECT 1")])
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as look,
    ):
        task = asyncio.create_task(run(connection, "durable", sleeping))
        asked = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
        while await (await look.execute(asked, [connection.info.backend_pid])).fetchone() != (True,):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert connection.closed or await run(connection, "durable", number("SELECT 1")) == 1


async def test_a_transaction_whose_operation_ends_before_its_commit_is_rolled_back(database: str) -> None:
    @operation
    def begun_only() -> Requests[str]:
        yield from Begin([effect("INSERT INTO later VALUES (1, 1)")])
        return "ended"

    async with await _with_late_constraint(database) as connection:
        assert await run(connection, "durable", begun_only()) == "ended"
        assert await run(connection, "durable", COUNT) == 0


async def test_what_fails_is_raised_inside_the_operation_once_its_transaction_is_rolled_back(database: str) -> None:
    @operation
    def tried_twice() -> Requests[Any]:
        try:
            yield from Begin([effect("INSERT INTO later VALUES (1, 1)"), effect("SELECT 1 / 0")])
        except psycopg.errors.DivisionByZero:
            yield from Begin([effect("INSERT INTO later VALUES (2, 2)")])
        return (yield from Commit([COUNT]))

    async with await _with_late_constraint(database) as connection:
        assert await run(connection, "durable", tried_twice()) == [1]


async def _with_late_constraint(database: str) -> psycopg.AsyncConnection[Any]:
    connection = await psycopg.AsyncConnection.connect(database, autocommit=True)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS later (a int PRIMARY KEY, b int REFERENCES later DEFERRABLE INITIALLY DEFERRED)"
    )
    return connection
