"""Behaviours of the ancestor that its tests leave out: W (workers) and D (codecs)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Context, InvalidArgument, JsonCodec, Worker, workflow
from tests.watching import rows, until
from tests.worker.flows import greeting, process_until_there_is_one


async def test_a_worker_returns_when_it_is_stopped_and_raises_when_it_is_cancelled(database: str) -> None:
    simple = greeting(Counter())
    stopped, cancelled = Worker(database, [simple]), Worker(database, [simple])
    async with asyncio.timeout(20):
        task, other = asyncio.create_task(stopped.run()), asyncio.create_task(cancelled.run())
        await until(lambda: stopped.ready() and cancelled.ready())
        assert not task.done()
        stopped.stop()
        other.cancel()
        await task
        with pytest.raises(asyncio.CancelledError):
            await other
    assert (stopped.status().state, cancelled.status().state) == ("stopped", "stopped")


async def test_no_more_runs_of_a_workflow_are_executed_at_once_than_it_allows(database: str) -> None:
    active: set[int] = set()
    most: list[int] = []
    may_end = asyncio.Event()

    async def work(number: int) -> None:
        active.add(number)
        most.append(len(active))
        await may_end.wait()
        active.discard(number)

    @workflow(concurrency=2)
    async def narrow(ctx: Context, number: int) -> None:
        await ctx.execute("work", work, number)

    simple = greeting(Counter())
    async with AsyncClient(database) as client, Worker(database, [narrow, simple], poll_interval=0.02):
        keys = await client.begin_many(narrow, range(8))
        await until(lambda: len(active) == 2)
        # Those that must wait hold up no other workflow.
        assert await (await client.begin(simple, "World")).result(timeout=10) == "Hello, World!"
        assert await rows(
            database,
            "SELECT status, count(*)::int FROM durable.runs WHERE workflow_name = 'narrow' GROUP BY 1 ORDER BY 1",
        ) == [("queued", 6), ("running", 2)]
        may_end.set()
        for key in keys:
            await client.handle(key, narrow).result(timeout=10)
    assert max(most) == 2
    assert len(most) == 8


async def test_the_oldest_run_is_claimed_first_among_those_of_one_priority(database: str) -> None:
    claimed: list[str] = []

    @workflow
    async def noting(ctx: Context, name: str) -> None:
        claimed.append(name)
        if name == "sleeper" and len(claimed) == 1:
            await ctx.sleep("nap", 0)

    worker = Worker(database, [noting])
    async with AsyncClient(database) as client:
        await client.begin(noting, "sleeper")
        assert await worker.process_one()
        for name in ("first", "second", "third"):
            await client.begin(noting, name)
        await client.begin(noting, "urgent", priority=1)
        await client.begin(noting, "idle", priority=-1)
        aged = "UPDATE durable.runs SET created_at = now() - interval '1 h' WHERE input #>> '{}' = 'third'"
        await rows(database, aged)
        for _ in range(6):
            await process_until_there_is_one(worker)
    assert claimed == ["sleeper", "sleeper", "urgent", "third", "first", "second", "idle"]


async def test_a_run_that_somebody_holds_is_passed_over(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(calls)
    worker = Worker(database, [simple])
    async with AsyncClient(database) as client, await psycopg.AsyncConnection.connect(database) as holder:
        held, free = [await client.begin(simple, name) for name in ("held", "free")]
        await holder.execute("SELECT FROM durable.runs WHERE run_id = %s FOR UPDATE", (held.run_key.run_id,))
        async with asyncio.timeout(10):
            assert await worker.process_one()
            assert await free.result(timeout=0) == "Hello, free!"
            assert not await worker.process_one()
        await holder.rollback()
        assert await worker.process_one()
        assert await held.result(timeout=0) == "Hello, held!"


def test_a_workflow_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="name="):

        @workflow(name="")
        async def nameless(ctx: Context) -> None: ...


async def test_a_worker_without_patience_hands_back_what_it_executes_and_fails_nothing(database: str) -> None:
    calls: Counter[str] = Counter()
    started = asyncio.Event()

    async def first() -> str:
        calls["first"] += 1
        return "first"

    async def hang() -> str:
        calls["hang"] += 1
        started.set()
        if calls["hang"] == 1:
            await asyncio.sleep(600)
        return "second"

    @workflow
    async def two(ctx: Context) -> list[str]:
        return [await ctx.execute("first", first), await ctx.execute("hang", hang)]

    async with AsyncClient(database) as client:
        async with asyncio.timeout(15):
            async with Worker(database, [two], graceful_shutdown_timeout=0):
                handle = await client.begin(two)
                await started.wait()
        status = await handle.status()
        assert (status.status, status.attempts, status.takeovers, status.error) == ("queued", 0, 0, None)
        assert await Worker(database, [two]).process_one()
        assert await handle.result(timeout=0) == ["first", "second"]
    assert calls == {"first": 1, "hang": 2}


class Reversed(JsonCodec):
    """What it stores nobody reads by accident."""

    def encode(self, value: object, what: str) -> str:
        return super().encode(super().encode(value, what)[::-1], what)

    def decode(self, text: str, type: Any, what: str) -> Any:
        return super().decode(super().decode(text, str, what)[::-1], type, what)


@pytest.mark.parametrize("whose", ["the workflow", "client and worker"])
async def test_a_codec_of_a_workflow_or_of_client_and_worker_encodes_all_that_is_stored(
    database: str, whose: str
) -> None:
    both = {} if whose == "the workflow" else {"codec": Reversed()}

    async def append(text: str) -> str:
        return text + "step, "

    @workflow(codec=Reversed() if whose == "the workflow" else None)
    async def secret(ctx: Context, text: str) -> str:
        text = await ctx.execute("append", append, text)
        return text + await ctx.wait_for_event("wait", "news", str)

    worker = Worker(database, [secret], **both)
    async with AsyncClient(database, **both) as client:
        handle = await client.begin(secret, "input, ")
        assert await worker.process_one()
        await handle.publish("news", "event")
        await process_until_there_is_one(worker)
        assert await handle.result(timeout=0) == "input, step, event"
    stored = await rows(
        database,
        "SELECT run.input::text, run.output::text, step.input::text, step.output::text, event.payload::text"
        " FROM durable.runs AS run, durable.steps AS step, durable.events AS event",
    )
    for text in stored[0]:
        assert not any(word in text for word in ("input", "step", "event"))
        assert any(word[::-1] in text for word in ("input", "step", "event"))
