"""Pipelines that fail, or whose caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from durable.postgres.outages import is_outage
from durable.postgres.pipeline import commit, read_all
from durable.store.statement import Statement, nothing


async def test_a_commit_that_fails_at_the_end_of_a_pipeline_is_taken_for_an_outage(database: str) -> None:
    insert = Statement("INSERT INTO later VALUES (1, 2)", {}, nothing)
    async with await _with_late_constraint(database) as connection:
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            await commit(connection, [insert])
    async with await _with_late_constraint(database) as connection:
        with pytest.raises(psycopg.OperationalError) as raised:
            await read_all(connection, [insert])
        assert is_outage(raised.value)
        assert connection.closed


async def test_what_a_failed_pipeline_has_skipped_is_not_taken_for_prepared(database: str) -> None:
    late = Statement("INSERT INTO later VALUES (1, 2)", {}, nothing)
    soon = Statement("SELECT 1 / 0", {}, nothing)
    count = Statement("SELECT count(*) FROM later", {}, list)
    for number in range(8):  # psycopg prepares what it has met five times
        async with await _with_late_constraint(database) as connection:
            for _ in range(number):
                await read_all(connection, [count])
            for failing in (commit(connection, [late], then=[count]), read_all(connection, [soon, count])):
                with pytest.raises(psycopg.Error):
                    await failing
                assert await read_all(connection, [count]) == [[(0,)]]


@pytest.mark.parametrize("run", [commit, read_all])
async def test_whoever_is_cancelled_in_a_pipeline_is_cancelled(database: str, run: Callable[..., Any]) -> None:
    statements = [Statement("SELECT pg_sleep(60)", {}, nothing), Statement("SELECT 1", {}, nothing)]
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as look,
    ):
        task = asyncio.create_task(run(connection, statements))
        asked = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = %s"
        while await (await look.execute(asked, [connection.info.backend_pid])).fetchone() != (True,):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert connection.closed or await read_all(connection, [Statement("SELECT 1", {}, list)]) == [[(1,)]]


async def _with_late_constraint(database: str) -> psycopg.AsyncConnection[Any]:
    connection = await psycopg.AsyncConnection.connect(database, autocommit=True)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS later (a int PRIMARY KEY, b int REFERENCES later DEFERRABLE INITIALLY DEFERRED)"
    )
    return connection
