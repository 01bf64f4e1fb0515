"""Commits whose answer the worker never got, with something else happening in between."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Call, Context, RetryPolicy, Worker, workflow
from durable.postgres.connection import EngineConnection
from durable.store.operation import Operation
from durable.store.routing import retry
from tests.mediating import names_of, overheard

Injection = Callable[[list[str], Any], Awaitable[None]]
"""Given the statements that were asked, and the result."""


@pytest.fixture
def after_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[Injection], None]:
    """Has something happen between a commit of a worker and its own knowledge of it."""
    original = EngineConnection.run

    def arm(injection: Injection) -> None:
        async def run(connection: EngineConnection, asked: Operation[Any]) -> Any:
            names: list[str] = []
            result = await original(connection, overheard(asked, lambda request: names.extend(names_of(request))))
            await injection(names, result)
            return result

        monkeypatch.setattr(EngineConnection, "run", run)

    return arm


class Gate:
    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self) -> None:
        self.started.set()
        await self.released.wait()


async def rows(database: str, statement: str) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall() if cursor.description else []


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_an_event_whose_routing_was_not_confirmed_is_not_overtaken_by_the_next(
    database: str, after_commit: Callable[[Injection], None]
) -> None:
    gate = Gate()

    async def hold() -> None:
        await gate()

    @workflow
    async def hearing(ctx: Context) -> list[str]:
        async def hear() -> list[str]:
            return [await ctx.wait_for_event(f"event {number}", "news", str) for number in range(2)]

        holding = asyncio.ensure_future(ctx.execute("hold", hold))
        heard = await hear()
        await holding
        return heard

    lost: list[str] = []

    async def lose_the_first_delivery(statements: list[str], visited: Any) -> None:
        if "routing/route_events" in statements and visited.live and not lost:
            lost.append("delivery")
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    async def is_listening() -> bool:
        return bool(await rows(database, "SELECT wait_key FROM durable.waits"))

    async def is_routed() -> bool:
        return not await rows(database, "SELECT event_id FROM durable.events WHERE routed_at IS NULL")

    async with AsyncClient(database) as client, Worker(database, [hearing]):
        handle = await client.begin(hearing)
        await gate.started.wait()
        await until(is_listening)
        after_commit(lose_the_first_delivery)
        await handle.publish_event("news", "first")
        await until(is_routed)
        await handle.publish_event("news", "second")
        await until(is_routed)
        await asyncio.sleep(0.1)
        gate.released.set()
        assert await handle.result(timeout=20) == ["first", "second"]
    assert lost


async def test_a_flush_that_is_repeated_after_the_run_was_retried_does_not_undo_the_retry(
    database: str, after_commit: Callable[[Injection], None]
) -> None:
    calls: list[int] = []

    async def part() -> str:
        calls.append(len(calls))
        if len(calls) == 1:
            raise ValueError("broken")
        return "whole"

    @workflow
    async def failing(ctx: Context) -> str:
        return await ctx.execute(Call("part", retry=RetryPolicy(max_retries=0)), part)

    async with AsyncClient(database) as client:
        handle = await client.begin(failing)

        async def is_reopened() -> bool:
            return (await handle.info()).status != "failed"

        retried: list[str] = []
        reopened = asyncio.Event()

        async def retry_before_the_worker_learns_of_its_commit(statements: list[str], _: Any) -> None:
            if "flush/settle_runs" in statements and not retried:
                retried.append("run")
                await client.retry_run(handle.run_key)
                # Another worker, of another workflow's code, meets the request: here by hand.
                async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
                    await EngineConnection(other, "durable").run(retry(handle.run_key.workflow_name_shard, 10))
                assert await is_reopened()
                reopened.set()
                raise psycopg.OperationalError("server closed the connection unexpectedly")

        after_commit(retry_before_the_worker_learns_of_its_commit)
        async with Worker(database, [failing]):
            await asyncio.wait_for(reopened.wait(), 20)
            assert await handle.result(timeout=20) == "whole"
    assert calls == [0, 1]


_SLOW_COMMITS = """
CREATE TABLE ledger (entry text);
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION dawdle();
"""
_IS_COMMITTING = "SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'"


async def test_a_transaction_step_does_not_begin_again_while_its_commit_is_still_on_its_way(database: str) -> None:
    await rows(database, _SLOW_COMMITS)
    sockets: list[int] = []

    async def book(tx: psycopg.AsyncConnection[Any]) -> str:
        sockets.append(tx.pgconn.socket)
        await tx.execute("INSERT INTO ledger VALUES ('booked')")
        return "booked"

    @workflow
    async def booking(ctx: Context) -> str:
        return await ctx.transaction("book", book)

    async def is_committing() -> bool:
        return bool(await rows(database, _IS_COMMITTING))

    async with AsyncClient(database) as client, Worker(database, [booking]):
        handle = await client.begin(booking)
        await until(is_committing)
        with socket.socket(fileno=os.dup(sockets[0])) as line:
            line.shutdown(socket.SHUT_RDWR)
        assert await handle.result(timeout=20) == "booked"
    assert len(sockets) == 1
    assert await rows(database, "SELECT entry FROM ledger") == [("booked",)]


async def test_a_run_that_is_claimed_before_its_worker_learns_that_it_is_parked_is_not_replayed(
    database: str, after_commit: Callable[[Injection], None]
) -> None:
    bodies: list[int] = []

    @workflow
    async def waiting(ctx: Context) -> str:
        bodies.append(len(bodies))
        return await ctx.wait_for_event("wait", "news", str)

    async with AsyncClient(database) as client:
        handle = await client.begin(waiting)
        overtaken: list[str] = []

        async def publish_before_the_worker_learns_of_its_commit(statements: list[str], _: Any) -> None:
            async def is_claimed_again() -> bool:
                return await rows(database, "SELECT epoch FROM durable.runs WHERE status = 'running'") == [(2,)]

            if "flush/park_runs" in statements and not overtaken:
                overtaken.append("flush")
                await handle.publish_event("news", "good")
                await until(is_claimed_again)

        after_commit(publish_before_the_worker_learns_of_its_commit)
        async with Worker(database, [waiting], max_resident=10):
            assert await handle.result(timeout=20) == "good"
    assert (overtaken, bodies) == (["flush"], [0])


async def test_a_chapter_whose_end_was_not_confirmed_has_ended_once(
    database: str, after_commit: Callable[[Injection], None]
) -> None:
    lost: list[str] = []
    noted: list[str] = []

    async def note(text: str) -> None:
        noted.append(text)

    @workflow
    async def in_chapters(ctx: Context, number: int) -> int:
        await ctx.execute("note", note, f"chapter {ctx.chapter}")
        if ctx.chapter < 4:
            return await ctx.continue_as_new(number + 1)
        return number

    async def lose_the_answer(statements: list[str], _: Any) -> None:
        if "chapters/begin_chapters" in statements and len(lost) < 2:
            lost.append("answer")
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    after_commit(lose_the_answer)
    async with AsyncClient(database) as client, Worker(database, [in_chapters]):
        assert await (await client.begin(in_chapters, 1)).result(timeout=30) == 4
    assert noted == [f"chapter {number}" for number in range(1, 5)]
    assert len(await rows(database, "SELECT chapter FROM durable.chapters")) == 3
    assert lost


async def test_an_event_whose_sending_was_not_confirmed_is_not_sent_to_the_next_run_with_its_key_as_well(
    database: str, after_commit: Callable[[Injection], None]
) -> None:
    lost: list[str] = []

    @workflow
    async def taking(ctx: Context) -> str:
        return await ctx.wait_for_event("note", "note", str)

    @workflow
    async def sending(ctx: Context) -> None:
        await ctx.publish_event("send", (taking, "k"), "note", "once")

    async with AsyncClient(database) as client, Worker(database, [taking]):
        first = await client.begin(taking, key="k")

        async def lose_the_answer(statements: list[str], _: Any) -> None:
            if "publishing/publish_to_keys" in statements and not lost:
                lost.append("answer")
                assert await first.result(timeout=20) == "once"
                await client.begin(taking, key="k", if_ended="begin_anew")
                raise psycopg.OperationalError("server closed the connection unexpectedly")

        after_commit(lose_the_answer)
        async with Worker(database, [sending]):
            await (await client.begin(sending)).result(timeout=30)
    assert lost
    assert len(await rows(database, "SELECT event_id FROM durable.events WHERE kind = 'event'")) == 1
