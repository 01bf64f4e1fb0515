"""Failure modes B: ownership, leases, zombies."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Context, RunFailed, RunKey, Worker, workflow
from durable.core.replay.endings import Park, Settle
from durable.core.replay.history import Cancel
from durable.postgres.pipeline import run
from durable.store import takeovers
from durable.store.claims import claim_runs, claim_suspects
from durable.store.flush import flush
from durable.store.operation import Operation
from durable.store.records import (
    AbandonedWait,
    AnsweredWait,
    CancelMemo,
    ChildMemo,
    DroppedTimer,
    MetRequest,
    OpenedWait,
    OrderedStep,
    Record,
    ReplyMemo,
    StepMemo,
    UnwantedChild,
)
from durable.store.statement import T
from durable.store.takeovers import take_over_runs
from durable.store.transaction_steps import Ownership, store_transaction_memo
from durable.worker import takeover as takeover_module
from tests.watching import reached, rows, until

LEASE = 1.2


async def execute(connection: psycopg.AsyncConnection[Any], asked: Operation[T]) -> T:
    return await run(connection, "durable", asked)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


async def owner_of(dsn: str) -> str:
    ((worker_id,),) = await rows(dsn, "SELECT worker_id::text FROM durable.runs WHERE status = 'running'")
    return str(worker_id)


async def take_over(dsn: str, owner: str, shard_value: str, *, max_strikes: int = 5) -> Any:
    """What another worker does with the runs of one that it takes for dead."""
    async with connected(dsn) as connection:
        return await execute(connection, take_over_runs(shard_value, owner, 1000, max_strikes=max_strikes))


# B3, B4


def everything(run_id: str, epoch: int) -> list[Record]:
    """Records that write all that a run can write, each with an end of its own."""
    memo = StepMemo("step", "execute", 1, "fn", 1, 0.0, input=None, output="1", error=None)
    child, other_child = (RunKey("idle_0", str(uuid.UUID(int=number))) for number in (3, 4))
    parked = Record(
        run_id,
        epoch,
        entries=[
            memo,
            CancelMemo(4, "request", '"why"'),
            ChildMemo("child", 5, child, "idle", 1, "null"),
            OrderedStep("stored", 2),
            OpenedWait("nap", wake_in=60.0),
            OpenedWait("news", event_name="news"),
            OpenedWait("end", child_run_id=child.run_id),
            OpenedWait("asked", event_name="add", is_request=True),
            ReplyMemo("asked:reply", 6, "add", str(uuid.UUID(int=5)), "1", is_refused=False),
            AnsweredWait("open", 3, False, str(uuid.UUID(int=1)), '"heard"'),
            AbandonedWait("left"),
            DroppedTimer("asyncio:timer:1"),
            MetRequest(str(uuid.UUID(int=2))),
            UnwantedChild(other_child),
        ],
        is_cancelled=True,
        ending=Park(),
    )
    settled = [
        Settle(status="completed", output="1"),
        Settle(status="failed", error="{}"),
        Settle(status="cancelled", error=Cancel("request", "why").text),
        Settle(status="queued", error="{}", failed_attempts=1, is_retry=True),
        Settle(status="sleeping", error="{}", wake_in=9.0, set_asides=1),
    ]
    staying = Record(run_id, epoch, entries=[memo], wants_inbox=True)
    return [parked, staying, *(Record(run_id, epoch, entries=[memo], ending=ending) for ending in settled)]


@workflow
async def idle(ctx: Context) -> None: ...


async def state_of(dsn: str) -> list[Any]:
    tables = ("runs", "steps", "waits", "events", "chapters")
    return [await rows(dsn, f"SELECT to_jsonb(t) FROM durable.{table} AS t ORDER BY 1") for table in tables]


async def test_b3_every_write_with_an_epoch_that_is_over_changes_nothing(database: str) -> None:
    zombie, heir = str(uuid.uuid4()), str(uuid.uuid4())
    async with AsyncClient(database) as client, connected(database) as connection:
        run_id = (await client.begin(idle)).run_key.run_id
        (claimed,) = await execute(connection, claim_runs("idle_0", zombie, 10))
        for kind, key, satisfied in (("event", "open", "NULL"), ("event", "left", "NULL")):
            await connection.execute(
                "INSERT INTO durable.waits (workflow_name_shard, run_id, wait_key, wait_type, event_name, satisfied_at)"
                f" VALUES ('idle_0', %s, %s, %s, 'news', {satisfied})",
                (run_id, key, kind),
            )
        await connection.execute(
            "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload)"
            " SELECT 'idle_0', %s, id, 'news', '1' FROM unnest(%s::uuid[]) AS id",
            (run_id, [str(uuid.UUID(int=1)), str(uuid.UUID(int=2))]),
        )
        await connection.execute(
            "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload)"
            " VALUES ('idle_0', %s, %s, 'request', 'add', '1')",
            (run_id, str(uuid.UUID(int=5))),
        )
        await connection.execute(
            "INSERT INTO durable.steps (workflow_name_shard, run_id, step_key, kind, status, fn, started_at, error)"
            " VALUES ('idle_0', %s, 'stored', 'transaction', 'failed', 'fn', now(), '{}')",
            (run_id,),
        )
        await take_over(database, zombie, "idle_0")
        await execute(connection, claim_runs("idle_0", heir, 10))
        before = await state_of(database)

        for record in everything(run_id, claimed.epoch):
            for is_repeat in (False, True):
                writing = flush("idle_0", zombie, [record], is_repeat=is_repeat, is_leaving=False)
                (written,) = await execute(connection, writing)
                assert not written.is_ours
        memo = store_transaction_memo(
            Ownership("idle_0", zombie, run_id, claimed.epoch),
            step_key="transaction",
            fn="fn",
            attempts=1,
            input=None,
            output="1",
        )
        assert not await execute(connection, memo)
        assert await state_of(database) == before


async def test_b4_a_takeover_between_the_body_and_the_commit_rolls_the_transaction_back(database: str) -> None:
    calls: Counter[str] = Counter()

    async def book(tx: psycopg.AsyncConnection[Any]) -> str:
        calls["book"] += 1
        await tx.execute("INSERT INTO ledger VALUES (%s)", (calls["book"],))
        if calls["book"] == 1:
            taken = await take_over(database, await owner_of(database), "booking_0")
            assert len(taken.queued) == 1
        return f"call {calls['book']}"

    @workflow
    async def booking(ctx: Context) -> str:
        return await ctx.transaction("book", book)

    await rows(database, "CREATE TABLE ledger (entry int)")
    async with AsyncClient(database) as client, Worker(database, [booking]):
        assert await (await client.begin(booking)).result(timeout=15) == "call 2"
    assert await rows(database, "SELECT entry FROM ledger") == [(2,)]


async def test_b4_a_takeover_that_comes_while_the_memo_commits_finds_the_run_locked(database: str) -> None:
    owner = str(uuid.uuid4())
    async with AsyncClient(database) as client, connected(database) as worker:
        run_id = (await client.begin(idle)).run_key.run_id
        (claimed,) = await execute(worker, claim_runs("idle_0", owner, 10))
        async with worker.transaction():
            memo = store_transaction_memo(
                Ownership("idle_0", owner, run_id, claimed.epoch),
                step_key="book",
                fn="fn",
                attempts=1,
                input=None,
                output="1",
            )
            assert await execute(worker, memo)
            assert (await take_over(database, owner, "idle_0")).queued == ()
        assert (await take_over(database, owner, "idle_0")).queued == (run_id,)
        assert await rows(database, "SELECT step_key FROM durable.steps") == [("book",)]


# B5


async def test_b5_a_worker_of_the_same_host_and_process_id_does_not_own_what_its_predecessor_left(
    database: str,
) -> None:
    async def echo() -> str:
        return "taken over"

    @workflow
    async def left(ctx: Context) -> str:
        return await ctx.execute("echo", echo)

    predecessor = str(uuid.uuid4())
    async with AsyncClient(database) as client, connected(database) as connection:
        handle = await client.begin(left)
        await execute(connection, claim_runs("left_0", predecessor, 10))
        await connection.execute(
            "INSERT INTO durable.workers (worker_id, lock_key, hostname, process_id, workflows, lease)"
            " VALUES (%s, 1, %s, %s, '{left}', 3600)",
            (predecessor, socket.gethostname(), os.getpid()),
        )
        async with Worker(database, [left]) as first, Worker(database, [left]) as second:
            assert await handle.result(timeout=10) == "taken over"
            assert (await handle.info()).takeovers == 1
            assert len({predecessor, first.status().worker_id, second.status().worker_id}) == 3


# B8, B9, B10


async def test_b8_a_crash_looping_run_is_visible_and_can_be_retried_by_hand(database: str) -> None:
    ready = asyncio.Event()

    async def step() -> str:
        await ready.wait()
        return "mended"

    @workflow
    async def looping(ctx: Context) -> str:
        return await ctx.execute("step", step)

    async with AsyncClient(database) as client:
        handle = await client.begin(looping)
        async with connected(database) as connection:
            for number in range(5):  # two workers claim it and die with it, then three that try it alone
                worker_id = str(uuid.uuid4())
                claim = claim_suspects("looping_0", worker_id, 10, "alone") if number >= 2 else None
                await execute(connection, claim or claim_runs("looping_0", worker_id, 10))
                await take_over(database, worker_id, "looping_0", max_strikes=3)
                await rows(database, "UPDATE durable.runs SET next_wake_at = now() WHERE status = 'sleeping'")
        status = await handle.info()
        assert status.error is not None
        assert (status.status, status.error.type, status.takeovers) == ("failed", "CrashLoop", 5)
        with pytest.raises(RunFailed, match="CrashLoop"):
            await handle.result(timeout=5)
        async with Worker(database, [looping]):
            await client.retry_run(handle.run_key)
            await reached(client, handle.run_key, "running")
            ready.set()
            assert await handle.result(timeout=10) == "mended"


async def test_b9_ten_thousand_runs_of_a_dead_worker_are_swept_in_batches_and_none_is_left(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []

    def counted(shard_value: str, owner: str, limit: int, **options: Any) -> Any:
        batches.append(limit)
        return takeovers.take_over(shard_value, owner, limit, **options)

    monkeypatch.setattr(takeover_module, "take_over", counted)
    monkeypatch.setattr(takeover_module, "_ORPHANS_SECONDS", 0.5)
    dead, many = str(uuid.uuid4()), 10_000
    async with connected(database) as connection:
        await connection.execute(
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input, status, worker_id, epoch)"
            " SELECT 'idle_0', gen_random_uuid(), 'idle', 'null', 'running', %s, 1 FROM generate_series(1, %s)",
            (dead, many),
        )
        await connection.execute(
            "INSERT INTO durable.workers (worker_id, lock_key, hostname, process_id, workflows, lease, heartbeat_at)"
            " VALUES (%s, 1, 'gone', 1, '{idle}', 1, now() - interval '1 hour')",
            (dead,),
        )
        async with connected(database) as holder, AsyncExitStack() as stack:
            async with holder.transaction():
                # Held by somebody, they must not hide the others from the sweep.
                await holder.execute("SELECT 1 FROM durable.runs ORDER BY run_id LIMIT 10 FOR UPDATE")
                worker = await stack.enter_async_context(Worker(database, [idle], lease=LEASE))
                await until(lambda: taken(database, many - 10), seconds=50)
            assert worker.status().is_lease_held
            await until(lambda: completed(database, many), seconds=50)
    assert max(batches) <= 1000
    assert len(batches) > many / 1000


async def taken(dsn: str, count: int) -> bool:
    return await rows(dsn, "SELECT count(*) FROM durable.runs WHERE takeovers = 1") == [(count,)]


async def completed(dsn: str, count: int) -> bool:
    return await rows(dsn, "SELECT count(*) FROM durable.runs WHERE status = 'completed'") == [(count,)]


async def test_b10_a_worker_that_is_stopped_at_any_instant_ends_in_time_and_owns_nothing(database: str) -> None:
    chance = random.Random(10)

    async def brief(seconds: float) -> None:
        await asyncio.sleep(seconds)

    @workflow
    async def busy(ctx: Context) -> None:
        for index in range(5):
            await ctx.execute(f"step {index}", brief, 0.01)
            await ctx.sleep(f"nap {index}", 0.01)

    async with AsyncClient(database) as client:
        for instant in range(40):
            await client.begin_many(busy, [None] * 20)
            worker = Worker(database, [busy], graceful_shutdown_timeout=2)
            running = asyncio.create_task(worker.run())
            await asyncio.sleep(chance.uniform(0, 0.01 if instant % 2 else 0.2))
            worker.stop()
            await asyncio.wait_for(running, 3)
            assert await rows(database, "SELECT 1 FROM durable.runs WHERE worker_id IS NOT NULL") == [], instant
            assert await rows(database, "SELECT 1 FROM durable.workers") == [], instant
