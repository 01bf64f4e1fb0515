"""Failure modes A: wake-ups, notifications, listeners."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from durable import AsyncClient, AsyncHandle, Context, Every, RunRetryPolicy, Worker, workflow
from durable.admin.migration import migrate
from durable.embedded import EmbeddedPostgres
from durable.embedded import server as server_module
from durable.store.channels import NUMBERS, TICKETS, done_channel, numbered_channel, work_channel
from durable.store.claims import claim_runs
from durable.worker import listener as listener_module
from durable.worker import scheduler as scheduler_module
from durable.worker import visit as visit_module
from durable.worker.database import Database
from durable.worker.listener import Listener
from tests.watching import reached, rows, until, without_tickets

NEVER = 3600.0
STRANDED = """
    SELECT wait.run_id FROM durable.waits AS wait
    JOIN durable.events AS event USING (workflow_name_shard, run_id)
    WHERE wait.satisfied_at IS NULL AND event.name = wait.event_name AND event.consumed_by IS NULL
"""
"""Waits that are open though their event is there."""


async def echo(text: str) -> str:
    return text


@workflow
async def quick(ctx: Context) -> str:
    return await ctx.execute("echo", echo, "done")


# A1


@workflow(retry=RunRetryPolicy(max_attempts=2, backoff=NEVER))
async def reading(ctx: Context, where: str) -> str:
    """Is led into the status that is asked for, and then waits for its news."""
    match where:
        case "asleep":
            await ctx.wait_for_event("first", "wake", str)
            nap = asyncio.ensure_future(ctx.sleep("nap", NEVER))
            news = await ctx.wait_for_event("news", "news", str)
            nap.cancel()
            return news
        case "waiting for another event":
            await ctx.wait_for_event("first", "wake", str)
        case "tried anew":
            if ctx.attempt == 1:
                raise ValueError("not yet")
    return await ctx.wait_for_event("news", "news", str)


@asynccontextmanager
async def led_into(dsn: str, where: str) -> AsyncIterator[tuple[AsyncClient, AsyncHandle[str]]]:
    """A run in that status on workers that find nothing by polling."""
    never: dict[str, Any] = {"poll_interval": NEVER, "max_poll_interval": NEVER}
    async with AsyncClient(dsn) as client, AsyncExitStack() as workers:
        handle = await client.begin(reading, where)
        if where == "queued":
            await client.publish_event(handle.run_key, "news", "heard")
            await workers.enter_async_context(Worker(dsn, [reading], **never))
            yield client, handle
            return
        worker = await workers.enter_async_context(Worker(dsn, [reading], **never))
        await until(lambda: worker.status().is_listening)
        await reached(client, handle.run_key, "sleeping" if where == "tried anew" else "waiting_event")
        await client.publish_event(handle.run_key, "news", "heard")
        if where in ("asleep", "waiting for another event"):
            await client.publish_event(handle.run_key, "wake", "now")
        elif where == "tried anew":
            await rows(dsn, "UPDATE durable.runs SET next_wake_at = now() WHERE status = 'sleeping'")
            await rows(dsn, "SELECT pg_notify(%s, 'run:reading_0')", work_channel("durable"))
        yield client, handle


@pytest.mark.parametrize("where", ["queued", "waiting", "asleep", "waiting for another event", "tried anew"])
async def test_a1_an_event_published_in_any_status_of_the_run_reaches_it_without_a_poll(
    database: str, where: str
) -> None:
    async with led_into(database, where) as (_, handle):
        assert await handle.result(timeout=10) == "heard"
        assert await rows(database, STRANDED) == []


# A2, A3


async def test_a2_the_catch_up_begins_only_once_listening_is_active(database: str) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    def caught_up() -> None:
        with psycopg.connect(database, autocommit=True) as other:  # what is committed while the catch-up begins
            other.execute("SELECT pg_notify('catching_up', 'committed meanwhile')")

    listener = Listener(
        Database(database, "durable"),
        "catching_up",
        caught_up=caught_up,
        gained=lambda _: None,
        notified=heard.put_nowait,
    )
    listening = asyncio.create_task(listener.run())
    try:
        assert await asyncio.wait_for(heard.get(), 10) == "committed meanwhile"
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def listeners(dsn: str) -> set[int]:
    found = await rows(
        dsn, "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN %%' AND datname = current_database()"
    )
    return {pid for (pid,) in found}


async def listeners_but(dsn: str, killed: set[int]) -> set[int]:
    return await listeners(dsn) - killed


async def test_a3_a_listener_is_back_within_seconds_of_each_of_a_hundred_kills(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_RECONNECT_SECONDS", 0.001)
    worker = Worker(database, [quick], poll_interval=NEVER, max_poll_interval=NEVER)
    async with AsyncClient(database) as client, worker:
        killed: set[int] = set()
        for _ in range(100):
            (pid,) = await until(lambda: listeners_but(database, killed), seconds=5)
            killed.add(pid)
            await rows(database, "SELECT pg_terminate_backend(%s)", pid)
        await until(lambda: worker.status().is_listening, seconds=5)
        assert await (await client.begin(quick)).result(timeout=5) == "done"


async def test_a3_a_worker_says_when_it_does_not_listen_and_is_back_within_seconds(database: str) -> None:
    async with Worker(database, [quick]) as worker:
        await until(lambda: worker.status().is_listening)
        (pid,) = await listeners(database)
        await rows(database, "SELECT pg_terminate_backend(%s)", pid)
        await until(lambda: not worker.status().is_listening, seconds=5)
        await until(lambda: worker.status().is_listening, seconds=5)


# A5


@workflow
async def noticing(ctx: Context) -> str:
    return await ctx.wait_for_event("news", "news", str)


async def test_a5_a_worker_that_hears_nothing_finds_everything_by_its_poll(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "_MAX_PAUSE_SECONDS", 0.1)
    # It listens, and nobody speaks there: as behind a pooler that swallows notifications.
    deaf = Worker(database, [quick, noticing], notify_channel="nobody", poll_interval=0.05, max_poll_interval=0.2)
    async with AsyncClient(database) as client, deaf:
        await until(lambda: deaf.status().is_listening)
        assert await (await client.begin(quick)).result(timeout=10) == "done"
        waiting = [await client.begin(noticing) for _ in range(3)]
        for handle in waiting:
            await reached(client, handle.run_key, "waiting_event")
        await waiting[0].publish_event("news", "heard")
        await waiting[1].cancel()
        await client.terminate_run(waiting[2].run_key)
        assert await waiting[0].result(timeout=10) == "heard"
        for handle in waiting[1:]:
            await reached(client, handle.run_key, "cancelled")
        await client.retry_run(waiting[1].run_key)
        await reached(client, waiting[1].run_key, "waiting_event")
        await client.schedule(quick, None, "late", Every(0.05))
        await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE schedule_id = 'late'"))


# A6, A7


def work_channels(schema: str) -> list[str]:
    """Those on which a run is announced once: to all, or to the worker that comes first."""
    return [work_channel(schema), *(numbered_channel(schema, ticket) for ticket in range(TICKETS))]


@asynccontextmanager
async def heard(dsn: str, *channels: str) -> AsyncIterator[Callable[[], Awaitable[list[str]]]]:
    """Gives all that has been said on those channels so far."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("; ".join(f'LISTEN "{channel}"' for channel in channels).encode())
        payloads: list[str] = []

        async def so_far() -> list[str]:
            await rows(dsn, "SELECT pg_notify(%s, 'so far')", channels[0])
            async for notice in connection.notifies(timeout=10):
                if notice.payload == "so far":
                    return payloads
                payloads.append(notice.payload)
            raise AssertionError("what was said last was not heard")

        yield so_far


async def test_a6_a_transaction_and_a_flush_notify_once_however_much_they_hold(database: str) -> None:
    async with AsyncClient(database) as client, heard(database, *work_channels("durable")) as announced:
        async with await psycopg.AsyncConnection.connect(database) as tx:
            for _ in range(100):
                await client.begin_tx(tx, quick, None)
        await client.begin_many(quick, [None] * 900)
        assert without_tickets(await announced()) == ["first:quick_0"] * 2
    async with heard(database, done_channel("durable")) as ended:
        async with Worker(database, [quick]):
            await until(lambda: rows(database, "SELECT 1 FROM durable.runs HAVING bool_and(status = 'completed')"))
        said = await ended()
    run_ids = [run_id for payload in said for run_id in payload.split(",")]
    assert len(run_ids) == len(set(run_ids)) == 1000
    assert len(said) < 100


async def test_a6_without_notifications_nothing_is_listened_for_and_everything_goes_on(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [noticing], notify=False, poll_interval=0.05):
        handle = await client.begin(noticing)
        await reached(client, handle.run_key, "waiting_event")
        assert await rows(database, "SELECT query FROM pg_stat_activity WHERE query ILIKE 'LISTEN %%work%%'") == []
        await handle.publish_event("news", "heard")
        assert await handle.result(timeout=10) == "heard"


async def test_a7_the_longest_names_and_the_largest_batches_fit_a_channel_and_a_payload(bare_database: str) -> None:
    schema = "s" * 63
    name = "ü" * 100
    longest = workflow(name=name)(quick.function)
    migrate(bare_database, schema=schema, shard_count=2)
    assert len(numbered_channel(schema, NUMBERS).encode()) < 64
    assert len(done_channel(schema).encode()) < 64
    assert work_channel(schema) != work_channel("s" * 62)
    async with (
        AsyncClient(bare_database, schema=schema) as client,
        heard(bare_database, *work_channels(schema), done_channel(schema)) as said,
    ):
        keys = await client.begin_many(longest, [None] * 1000)
        async with Worker(bare_database, [longest], schema=schema):
            assert await client.handle(keys[-1], longest).result(timeout=30) == "done"
            await until(
                lambda: rows(bare_database, f"SELECT 1 FROM {schema}.runs HAVING bool_and(status = 'completed')")
            )
        payloads = await said()
    assert {f"first:{name}_0", f"first:{name}_1"} <= set(without_tickets(payloads))
    assert max(len(payload.encode()) for payload in payloads) < 8000


# A8

WORKERS = 50


async def becomes_quiet(looks: Counter[str]) -> None:
    """Returns once nobody has looked for a while."""
    seen = -1
    while seen != looks.total():
        seen = looks.total()
        await asyncio.sleep(0.3)


async def test_a8_of_fifty_workers_few_look_for_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: Counter[str] = Counter()

    def counted(shard_value: str, worker_id: str, limit: int, left_to_others: Sequence[str]) -> Any:
        looks[worker_id] += 1
        return claim_runs(shard_value, worker_id, limit, left_to_others)

    monkeypatch.setattr(visit_module, "claim_runs", counted)
    monkeypatch.setitem(server_module._SETTINGS, "max_connections", "400")
    with EmbeddedPostgres(tmp_path, fsync=False) as server:
        dsn = make_conninfo(server.conninfo)
        migrate(dsn)
        async with AsyncExitStack() as stack:
            shared: Any = await stack.enter_async_context(AsyncConnectionPool(dsn, open=False))
            client = await stack.enter_async_context(AsyncClient(dsn))
            never: dict[str, Any] = {"poll_interval": NEVER, "max_poll_interval": NEVER}
            workers = [await stack.enter_async_context(Worker(shared, [quick], **never)) for _ in range(WORKERS)]
            await until(lambda: all(worker.status().is_listening for worker in workers))
            await until(lambda: len(looks) == WORKERS)

            async def a_run_costs_few_looks() -> bool:
                await becomes_quiet(looks)  # the last in their order look seconds later
                looks.clear()
                assert await (await client.begin(quick)).result(timeout=10) == "done"
                return looks.total() <= 3

            await until(a_run_costs_few_looks)  # once they know of each other, which takes them some seconds
