"""What goes wrong below the workflow: a record the database refuses, a codec that breaks, a lost connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Context, RunFailed, Worker, workflow
from durable.core.codec.json_codec import JsonCodec
from durable.worker.database import Database


async def echo(value: str) -> str:
    return value


@workflow
async def echoing(ctx: Context, value: str) -> str:
    return await ctx.execute("echo", echo, value)


class Poisonous(JsonCodec):
    """Writes what is no JSON for one value."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def encode(self, value: object, what: str) -> str:
        return self._text if value == "poison" and "output" in what else super().encode(value, what)


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "invalid input syntax for type json"), ('"\0"', "contains a NUL character")]
)
async def test_a_record_the_database_refuses_fails_its_run_and_no_other_of_the_batch(
    database: str, text: str, reason: str
) -> None:
    values = [*(str(number) for number in range(40)), "poison"]
    async with AsyncClient(database) as client:
        run_keys = await client.begin_many(echoing, values)
        async with Worker(database, [echoing], codec=Poisonous(text)):
            handles = [client.handle(run_key, echoing) for run_key in run_keys]
            results = await asyncio.gather(*(handle.result(timeout=20) for handle in handles), return_exceptions=True)

    assert results[:-1] == values[:-1]
    assert isinstance(results[-1], RunFailed)
    assert reason in str(results[-1])


async def test_a_verdict_the_database_refuses_is_tried_again_until_it_is_taken(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow
    async def failing(ctx: Context) -> None:
        raise ValueError("no")

    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("ALTER TABLE durable.runs ADD CONSTRAINT refusal CHECK (status <> 'failed')")
        async with AsyncClient(database) as client, Worker(database, [failing, echoing]):
            handle = await client.begin(failing)
            while "was not being executed by the worker that owned it" not in caplog.text:
                await asyncio.sleep(0.01)
            assert await (await client.begin(echoing, "neighbour")).result(timeout=20) == "neighbour"
            await connection.execute("ALTER TABLE durable.runs DROP CONSTRAINT refusal")
            # The verdict stands instead if the constraint is dropped between the two.
            with pytest.raises(RunFailed, match="ValueError|CheckViolation"):
                await handle.result(timeout=20)


class Breaking(JsonCodec):
    """Breaks on a drawn number so many times."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.left = times

    def encode(self, value: object, what: str) -> str:
        if isinstance(value, float) and self.left > 0:
            self.left -= 1
            raise RuntimeError("the codec is broken")
        return super().encode(value, what)


@workflow
async def drawing(ctx: Context) -> str:
    await ctx.random("number")
    return "drawn"


async def test_a_run_that_broke_the_engine_is_executed_anew(database: str, caplog: pytest.LogCaptureFixture) -> None:
    async with AsyncClient(database) as client, Worker(database, [drawing], codec=Breaking(1)):
        assert await (await client.begin(drawing)).result(timeout=20) == "drawn"

    assert "unexpected error while executing run" in caplog.text


async def test_a_run_that_always_breaks_the_engine_fails_in_the_end(database: str) -> None:
    breaking = Worker(database, [drawing], codec=Breaking(float("inf")), max_strikes=2)
    async with AsyncClient(database) as client, breaking:
        with pytest.raises(RunFailed, match="CrashLoop"):
            await (await client.begin(drawing)).result(timeout=20)
        assert breaking.healthy()


class Failing:
    """A worker's database whose connection breaks once, after the answer and before it is handed on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.has_failed = False

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Any]:
        async with self._database.engine() as connection:
            yield connection
        if not self.has_failed:
            self.has_failed = True
            raise psycopg.OperationalError("the connection is lost")


async def test_runs_claimed_over_a_connection_that_breaks_are_claimed_anew_and_not_blamed(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [echoing], notify=False, poll_interval=3600) as worker:
        dispatcher = worker._dispatchers["echoing"]
        failing: Any = Failing(dispatcher._database)
        handles = [await client.begin(echoing, "claimed twice") for _ in range(3)]
        dispatcher._database = failing
        dispatcher._poll_interval = 0.01
        dispatcher.poll()
        assert [await handle.result(timeout=20) for handle in handles] == ["claimed twice"] * 3
        assert failing.has_failed
        assert [(await handle.info()).takeovers for handle in handles] == [0, 0, 0]


@pytest.fixture(autouse=True)
def warnings_are_captured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


async def test_a_lease_that_ends_by_a_defect_ends_its_worker(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without heartbeats its runs are others' soon; a worker that went on would execute what it may not write."""

    def broken(*_: object, **__: object) -> Any:
        raise ZeroDivisionError("a defect")

    worker = Worker(database, [echoing])
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while not worker.ready():
            await asyncio.sleep(0.01)
        monkeypatch.setattr("durable.worker.lease.beat", broken)
        with pytest.raises(ZeroDivisionError, match="a defect"):
            await running
    assert worker.status().state == "stopped"


async def test_a_lease_that_can_never_begin_is_told_by_the_worker(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("durable.worker.lease.register_worker", broken)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        await asyncio.wait_for(Worker(database, [echoing]).run(), 20)
