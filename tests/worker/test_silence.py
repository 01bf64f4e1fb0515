"""A network that falls silent: no error, no answer."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Call, Context, RetryPolicy, Worker, workflow
from durable.worker import listener
from durable.worker.database import Database
from tests.proxy import Proxy

GRACE = 0.5


class Gate:
    """Where a step of the test stands still."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()
        self.calls = 0

    async def pass_through(self) -> str:
        self.calls += 1
        self.entered.set()
        await self.opened.wait()
        return "through"


async def until(condition: Any, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_run_goes_on_over_new_connections_once_the_network_is_back(database: str) -> None:
    gate = Gate()

    @workflow
    async def gated(ctx: Context) -> list[str]:
        return [await ctx.execute(f"step {n}", gate.pass_through) for n in range(3)]

    async with Proxy(database) as proxy, AsyncClient(database) as client, Worker(proxy.conninfo, [gated]):
        handle = await client.begin(gated)
        await gate.entered.wait()
        proxy.silence()
        gate.opened.set()
        await until(lambda: proxy.swallowed)
        proxy.speak()
        assert await handle.result(timeout=30) == ["through"] * 3
        assert (await handle.info()).takeovers == 0
    assert gate.calls == 3


async def test_a_transaction_step_whose_connection_fell_silent_is_made_anew(database: str) -> None:
    inside = asyncio.Event()
    spoken = asyncio.Event()
    calls = 0

    async def insert(tx: psycopg.AsyncConnection[Any]) -> int:
        nonlocal calls
        calls += 1
        inside.set()
        await spoken.wait()
        cursor = await tx.execute("INSERT INTO ledger VALUES (1) RETURNING (SELECT count(*) FROM ledger)")
        return int((await cursor.fetchall())[0][0])

    @workflow
    async def booking(ctx: Context) -> int:
        return await ctx.transaction("insert", insert)

    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as admin:
        await admin.execute("CREATE TABLE ledger (entry int)")
        async with Proxy(database) as proxy, AsyncClient(database) as client, Worker(proxy.conninfo, [booking]):
            handle = await client.begin(booking)
            await inside.wait()
            proxy.silence()
            spoken.set()
            await until(lambda: proxy.swallowed)
            proxy.speak()
            assert await handle.result(timeout=30) == 0
        cursor = await admin.execute("SELECT count(*) FROM ledger")
        assert await cursor.fetchall() == [(1,)]
    assert calls == 2


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(4.5)", None], ids=["slow in the database", "slow outside"])
async def test_a_slow_transaction_is_not_taken_for_a_silent_one(database: str, statement: str | None) -> None:
    calls = 0

    async def slow(tx: psycopg.AsyncConnection[Any]) -> None:
        nonlocal calls
        calls += 1
        if statement:
            await tx.execute(statement.encode())
        else:
            await asyncio.sleep(4.5)

    @workflow
    async def waiting(ctx: Context) -> None:
        await ctx.transaction(Call("slow", retry=RetryPolicy(max_retries=0)), slow)

    async with AsyncClient(database) as client, Worker(database, [waiting]):
        await (await client.begin(waiting)).result(timeout=30)
    assert calls == 1


async def test_a_worker_is_healthy_as_soon_as_it_is_registered(database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("""
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$;
            CREATE TRIGGER slow BEFORE UPDATE ON durable.workers FOR EACH ROW EXECUTE FUNCTION slow()""")

    @workflow
    async def idle(ctx: Context) -> None: ...

    async with Worker(database, [idle]) as worker:
        assert worker.healthy()


async def test_a_worker_that_reaches_nobody_gives_its_runs_up_before_others_may_take_them(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Gate(), Gate()
    cancelled_at: list[float] = []

    async def hang() -> str:
        gate = second if first.calls else first
        try:
            return await gate.pass_through()
        except asyncio.CancelledError:
            cancelled_at.append(time.time())
            raise

    @workflow
    async def hanging(ctx: Context) -> str:
        return await ctx.execute("hang", hang)

    async with Proxy(database) as proxy, AsyncClient(database) as client:
        async with Worker(proxy.conninfo, [hanging], lease=2) as lonely:
            handle = await client.begin(hanging)
            await first.entered.wait()
            async with Worker(database, [hanging], lease=2):
                proxy.silence()
                await second.entered.wait()
                assert not lonely.healthy()
                second.opened.set()
                assert await handle.result(timeout=20) == "through"
                assert (await handle.info()).takeovers == 1
                await until(lambda: cancelled_at)
                proxy.speak()
                await until(lonely.healthy)
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute("SELECT extract(epoch FROM started_at)::float8 FROM durable.runs")
        assert len(await cursor.fetchall()) == 1
    assert "could not reach the database within its lease" in caplog.text
    assert len(cancelled_at) == 1


async def test_a_worker_that_reaches_nobody_stops_within_its_grace_and_two_seconds(database: str) -> None:
    gate = Gate()

    @workflow
    async def gated(ctx: Context) -> list[str]:
        return [await ctx.execute(f"step {n}", gate.pass_through) for n in range(3)]

    async with Proxy(database) as proxy, AsyncClient(database) as client:
        worker = Worker(proxy.conninfo, [gated], graceful_shutdown_timeout=GRACE, poll_interval=0.05, notify=False)
        working = asyncio.create_task(worker.run())
        await client.begin(gated)
        await gate.entered.wait()
        proxy.silence()
        gate.opened.set()
        await until(lambda: proxy.swallowed)
        await until(lambda: worker._lease is not None and not worker._lease.is_in_touch)
        worker.stop()
        async with asyncio.timeout(GRACE + 2):
            await working


async def test_a_silent_listener_is_replaced_within_its_heartbeat_and_two_seconds(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_HEARTBEAT_SECONDS", 0.5)
    heard: list[str] = []
    caught_up: list[float] = []
    async with Proxy(database) as proxy:
        listening = listener.Listener(
            Database(proxy.conninfo, "durable"),
            "news",
            caught_up=lambda: caught_up.append(time.monotonic()),
            gained=lambda _: None,
            notified=heard.append,
        )
        task = asyncio.create_task(listening.run())
        try:
            await until(lambda: listening.is_connected)
            proxy.silence()
            await until(lambda: proxy.swallowed)
            proxy.speak()
            async with asyncio.timeout(0.5 + 2 + 2):  # its heartbeat, the answer it waits for, and a new connection
                await until(lambda: len(caught_up) == 2)
            async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
                await connection.execute("NOTIFY news, 'hello'")
            await until(lambda: heard == ["hello"])
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture(autouse=True)
def warnings_are_captured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
