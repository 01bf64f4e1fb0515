"""What loses answers loses the answers alone, and only of what was done."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import AsyncConnection

from durable import Worker
from durable.admin.migration import migrate
from durable.postgres.pipeline import run
from durable.store.operation import operation
from durable.store.schedules import read_clock
from durable.store.statement import Batch, Begin, Commit, NoRow, Query, Requests, nothing
from tests.faults.doubt import STATEMENTS, Doubt, doubting
from tests.faults.stage import load_faults
from tests.faults.workload import WORKFLOWS
from tests.watching import until


class Written(Query[NoRow]):
    """A query of the test's own."""

    def __init__(self, sql: LiteralString) -> None:
        self.row = NoRow
        self.sql = sql

    def text(self, schema: str) -> LiteralString:
        return self.sql


_INSERT = Written("INSERT INTO seen VALUES (1)").statement({}, nothing)


@operation
def in_stages() -> Requests[None]:
    yield from Begin([read_clock()])
    yield from Batch([_INSERT])
    yield from Commit([_INSERT], then=[_INSERT])


@pytest.fixture
def seen(database: str) -> str:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE seen (one integer)")
    return database


async def count(database: str) -> int:
    async with await AsyncConnection.connect(database) as connection:
        return len(await (await connection.execute("SELECT one FROM seen")).fetchall())


async def loses(connection: AsyncConnection[Any], doing: Any) -> list[str]:
    """The statements whose answers are lost while it is done; it must fail for that."""
    lost: list[str] = []
    with doubting(Doubt({"schedules/read_clock": 1}, seed=1), lost.append), pytest.raises(psycopg.OperationalError):
        await doing
    assert connection.broken
    return lost


async def test_a_commit_whose_answer_is_lost_has_happened_with_all_of_its_stages(seen: str) -> None:
    async with await AsyncConnection.connect(seen, autocommit=True) as connection:
        assert await loses(connection, run(connection, "durable", in_stages())) == ["schedules/read_clock"]
    assert await count(seen) == 3


async def test_in_an_open_transaction_the_answer_that_is_lost_is_that_of_the_commit(seen: str) -> None:
    async def act(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction():
            await run(connection, "durable", read_clock())
            await run(connection, "durable", _INSERT)

    async with await AsyncConnection.connect(seen, autocommit=True) as connection:
        assert await loses(connection, act(connection)) == ["schedules/read_clock"]
    assert await count(seen) == 1


async def test_nothing_is_lost_of_what_fails_of_itself(seen: str) -> None:
    lost: list[str] = []
    broken = Written("SELECT 1 / 0").statement({}, nothing)
    async with await AsyncConnection.connect(seen, autocommit=True) as connection:
        with doubting(Doubt({"schedules/read_clock": 1}, seed=1), lost.append):
            with pytest.raises(psycopg.errors.DivisionByZero):
                await run(connection, "durable", Commit([read_clock(), broken]))
            assert lost == []
            with pytest.raises(psycopg.OperationalError):
                await run(connection, "durable", read_clock())
        assert lost == ["schedules/read_clock"]


def test_every_statement_of_the_engine_is_in_the_campaign_fifty_times() -> None:
    assert load_faults()["ambiguous"].sizes["campaign"] == 50 * len(STATEMENTS) > 50 * 60


@pytest.mark.parametrize(
    "statement",
    ["workers/register_worker", "sessions/hold_lock", "workers/beat", "settings/read_settings", "sessions/share_lock"],
)
async def test_a_worker_starts_whatever_answer_it_misses(database: str, statement: str) -> None:
    migrate(database)
    lost: list[str] = []
    with doubting(Doubt({statement: 1}, seed=1), lost.append):
        async with Worker(database, WORKFLOWS) as worker:
            assert worker.ready()
            await until(lambda: lost and worker.healthy(), 60)
    assert lost == [statement]
