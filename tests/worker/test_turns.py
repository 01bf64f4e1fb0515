"""Several workers hear of a run, and one looks: who that is, and what happens if it does not."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from durable import AsyncClient, Context, Worker, Workflow, workflow
from durable.store.channels import work_channel
from durable.store.claims import claim_runs
from durable.worker import visit as visit_module
from tests.watching import reached, rows, until
from tests.worker.flows import arithmetic, greeting

NEVER = 3600.0
IN_TIME = 1.0
"""Far more than a tenth of a second, which a busy machine may not keep, and far less than the poll."""


def knows(worker: Worker, count: int) -> bool:
    return all(len(dispatcher.precedence._workers) == count for dispatcher in worker._dispatchers.values())


@asynccontextmanager
async def fleet(
    dsn: str, wf: Workflow[Any, Any], size: int, *, known: int | None = None, **options: Any
) -> AsyncIterator[list[Worker]]:
    """That many workers that never poll, once they know of each other."""
    options = {"poll_interval": NEVER, "max_poll_interval": NEVER, "graceful_shutdown_timeout": 0} | options
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(Worker(dsn, [wf], **options)) for _ in range(size)]
        await until(lambda: all(knows(worker, size if known is None else known) for worker in workers))
        yield workers


async def add_silent_worker(dsn: str, name: str) -> None:
    """A worker that counts as listening, but never looks: for a while, one that was stopped does the same."""
    await rows(
        dsn,
        "INSERT INTO durable.workers (worker_id, hostname, process_id, workflows, lease, heartbeat_at, is_listening)"
        " VALUES (%s, 'here', 1, %s, 3600, now() + interval '1 hour', true)",
        uuid4(),
        [name],
    )


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counted: Counter[str] = Counter()

    def counting(shard_value: str, worker_id: str, limit: int, left_to_others: Sequence[str]) -> Any:
        counted[worker_id] += 1
        return claim_runs(shard_value, worker_id, limit, left_to_others)

    monkeypatch.setattr(visit_module, "claim_runs", counting)
    return counted


async def test_a_run_costs_about_one_look_and_all_workers_get_their_share(database: str, looks: Counter[str]) -> None:
    simple = greeting(Counter())
    async with AsyncClient(database) as client, fleet(database, simple, 4):
        looks.clear()
        for _ in range(60):
            assert await (await client.begin(simple, "World")).result(timeout=20) == "Hello, World!"
        assert len(looks) == 4
        assert looks.total() < 150, "at most the first, one that stands in, and now and then another"


async def test_a_first_worker_that_does_not_look_is_stood_in_for_long_before_the_poll(database: str) -> None:
    simple = greeting(Counter())
    await add_silent_worker(database, "simple")
    async with AsyncClient(database) as client, fleet(database, simple, 1, known=2):
        for _ in range(20):
            began = time.monotonic()
            assert await (await client.begin(simple, "World")).result(timeout=20) == "Hello, World!"
            assert time.monotonic() - began < IN_TIME


async def test_runs_that_are_due_are_stood_in_for_as_well(database: str) -> None:
    simple = greeting(Counter())
    await add_silent_worker(database, "simple")
    async with AsyncClient(database) as client, fleet(database, simple, 1, known=2):
        for _ in range(8):
            began = time.monotonic()
            assert await (await client.begin(simple, "World", delay=0.1)).result(timeout=20) == "Hello, World!"
            assert time.monotonic() - began < IN_TIME


async def test_a_full_worker_passes_on_what_it_would_take_first(database: str) -> None:
    @workflow(concurrency=1)
    async def crowding(ctx: Context) -> None:
        await ctx.execute("block", asyncio.sleep, 600)

    async with AsyncClient(database) as client, fleet(database, crowding, 5):
        for _ in range(5):
            began = time.monotonic()
            handle = await client.begin(crowding)
            await reached(client, handle.run_key, "running")
            assert time.monotonic() - began < IN_TIME


async def test_more_runs_than_one_worker_can_take_are_taken_by_all(database: str) -> None:
    @workflow(concurrency=2)
    async def crowding(ctx: Context) -> None:
        await ctx.execute("block", asyncio.sleep, 600)

    async with (
        AsyncClient(database) as client,
        fleet(database, crowding, 4, poll_interval=0.25, max_poll_interval=NEVER),
    ):
        await client.begin_many(crowding, [None] * 8)

        async def are_all_taken() -> bool:
            return await rows(database, "SELECT 1 FROM durable.runs HAVING bool_and(status = 'running')") == [(1,)]

        await until(are_all_taken)
        assert await rows(database, "SELECT count(DISTINCT worker_id) FROM durable.runs") == [(4,)]


async def test_runs_that_wake_are_looked_for_by_few(database: str, looks: Counter[str]) -> None:
    simple = greeting(Counter())
    async with AsyncClient(database) as client, fleet(database, simple, 6):
        run_keys = [(await client.begin(simple, "World", delay=1.5)).run_key for _ in range(6)]
        await asyncio.sleep(0.5)
        looks.clear()
        for run_key in run_keys:
            await client.handle(run_key, simple).result(timeout=20)
        assert looks.total() <= 3 * len(run_keys)


LISTENING = "SELECT count(*)::int FROM durable.workers WHERE is_listening"


async def test_only_workers_that_hear_of_runs_are_counted_on(database: str) -> None:
    simple = greeting(Counter())
    async with (
        fleet(database, simple, 2) as (one, _),
        Worker(database, [simple], notify=False),
        Worker(database, [simple], notify_channel="another") as elsewhere,
        Worker(database, [arithmetic(Counter())]),
    ):
        await until(lambda: elsewhere.status().is_listening)
        await asyncio.sleep(1.5)  # a heartbeat later, nobody has been counted who should not have been
        assert knows(one, 2)

        async def are_listening() -> bool:
            return await rows(database, LISTENING) == [(3,)]

        await until(are_listening)


async def test_a_worker_that_leaves_or_dies_is_soon_not_counted_on(database: str) -> None:
    simple = greeting(Counter())
    async with fleet(database, simple, 1) as (one,):
        async with Worker(database, [simple], poll_interval=NEVER):
            await until(lambda: knows(one, 2))
        await until(lambda: knows(one, 1), 5)
        dead = uuid4()
        await rows(
            database,
            "INSERT INTO durable.workers (worker_id, lock_key, hostname, process_id, workflows, lease, is_listening)"
            " VALUES (%s, 1, 'here', 1, '{simple}', 3600, true)",
            dead,
        )
        await asyncio.sleep(1.5)
        assert knows(one, 1), "it holds no lock"


async def test_announcements_of_plain_sql_make_everyone_look(database: str, looks: Counter[str]) -> None:
    simple = greeting(Counter())
    async with fleet(database, simple, 3):
        looks.clear()
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute("SELECT pg_notify(%s, 'run:simple_0')", (work_channel("durable"),))
        await until(lambda: len(looks) == 3)
