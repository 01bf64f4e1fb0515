"""Failure modes D3: all that can be done, at the same time, and nobody meets in a deadlock."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import psycopg

from durable import (
    AsyncClient,
    Context,
    Every,
    RunKey,
    RunNotCancellable,
    RunNotRetryable,
    RunRetryPolicy,
    RunTerminal,
    ScheduleNotFound,
    Worker,
    workflow,
)
from durable.postgres.pipeline import run
from durable.store.takeovers import take_over_runs
from tests.failure_modes.test_database import setting
from tests.watching import rows, until

SECONDS = 4.0
SESSIONS = 8
REFUSALS = (RunNotCancellable, RunNotRetryable, RunTerminal, ScheduleNotFound)


async def echo(number: int) -> int:
    return number


async def touch(tx: psycopg.AsyncConnection[Any], number: int) -> int:
    await tx.execute("INSERT INTO public.touched VALUES (%s)", (number,))
    return number


@workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
async def busy(ctx: Context, number: int) -> int:
    await asyncio.gather(*(ctx.execute(f"step {index}", echo, index) for index in range(3)))
    await ctx.transaction("touch", touch, number)
    await ctx.sleep("nap", 0.01)
    if number % 7 == 0:
        raise ValueError("again")
    if number % 2:
        await asyncio.gather(*(ctx.wait_for_event(f"wait {index}", "news", timeout=0.5) for index in range(2)))
    return number


class Session:
    """One application: calls whatever there is, on runs that others work on too."""

    def __init__(self, client: AsyncClient, dsn: str, run_keys: list[RunKey], chance: random.Random) -> None:
        self._client = client
        self._dsn = dsn
        self._run_keys = run_keys
        self._chance = chance
        self.done: Counter[str] = Counter()

    async def act(self, until_moment: float) -> None:
        actions: list[Callable[[], Awaitable[Any]]] = [
            self.begin, self.begin_many, self.publish, self.cancel, self.terminate, self.retry, self.schedule,
            self.pause, self.resume, self.delete, self.trigger, self.list, self.transaction, self.take_over,
        ]  # fmt: skip
        while time.monotonic() < until_moment:
            action = self._chance.choice(actions)
            try:
                await action()
            except REFUSALS:
                pass  # it has ended, or was deleted, meanwhile
            self.done[action.__name__] += 1

    def _one(self) -> RunKey:
        return self._chance.choice(self._run_keys[-100:])

    def _schedule_id(self) -> str:
        return f"schedule {self._chance.randrange(4)}"

    async def begin(self) -> None:
        key = str(self._chance.randrange(1000))
        self._run_keys.append((await self._client.begin(busy, self._chance.randrange(100), key=key)).run_key)

    async def begin_many(self) -> None:
        self._run_keys.extend(await self._client.begin_many(busy, range(10)))

    async def publish(self) -> None:
        await self._client.publish_event(self._one(), "news", 1, key=str(self._chance.randrange(3)))

    async def cancel(self) -> None:
        await self._client.cancel_run(self._one())

    async def terminate(self) -> None:
        await self._client.terminate_run(self._one())

    async def retry(self) -> None:
        await self._client.retry_run(self._one())

    async def schedule(self) -> None:
        overlap: Any = self._chance.choice(["allow", "skip", "cancel_other", "buffer_one"])
        await self._client.schedule(busy, 1, self._schedule_id(), Every(0.05), overlap=overlap)

    async def pause(self) -> None:
        await self._client.pause_schedule(self._schedule_id())

    async def resume(self) -> None:
        await self._client.resume_schedule(self._schedule_id())

    async def delete(self) -> None:
        await self._client.delete_schedule(self._schedule_id())

    async def trigger(self) -> None:
        await self._client.trigger_schedule(self._schedule_id())

    async def list(self) -> None:
        await self._client.list_runs(limit=50)
        await self._client.list_schedules()

    async def transaction(self) -> None:
        """Many runs in one transaction, in no order."""
        async with await psycopg.AsyncConnection.connect(self._dsn) as tx:
            for _ in range(8):
                try:
                    match self._chance.randrange(3):
                        case 0:
                            await self._client.publish_event_tx(tx, self._one(), "news", 1)
                        case 1:
                            await self._client.cancel_run_tx(tx, self._one())
                        case _:
                            await self._client.begin_tx(tx, busy, 1)
                except REFUSALS:
                    pass

    async def take_over(self) -> None:
        """As one does who takes a living worker for dead."""
        found = await rows(self._dsn, "SELECT worker_id::text FROM durable.workers ORDER BY random() LIMIT 1")
        for (owner,) in found:
            async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
                await run(connection, "durable", take_over_runs("busy_0", owner, 5, max_strikes=1000))


async def deadlocks(dsn: str) -> int:
    ((count,),) = await rows(dsn, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(count)


async def test_d3_no_two_operations_meet_in_a_deadlock(database: str) -> None:
    chance = random.Random(3)
    run_keys: list[RunKey] = []
    before = await deadlocks(database)
    await rows(database, "CREATE TABLE public.touched (number int)")
    async with setting(database, deadlock_timeout="50ms"), AsyncClient(database) as client:
        run_keys.extend(await client.begin_many(busy, range(50)))
        sessions = [Session(client, database, run_keys, chance) for _ in range(SESSIONS)]
        async with AsyncExitStack() as workers:
            for resident in (1, 100, 100):  # the poll finds what was taken over and not announced
                worker = Worker(database, [busy], max_resident=resident, max_poll_interval=0.5)
                await workers.enter_async_context(worker)
            until_moment = time.monotonic() + SECONDS
            await asyncio.gather(*(session.act(until_moment) for session in sessions))
            for number in range(4):
                try:
                    await client.delete_schedule(f"schedule {number}")
                except ScheduleNotFound:
                    pass
            await until(lambda: rows(database, ALL_ENDED), seconds=30)
    done = sum((session.done for session in sessions), Counter[str]())
    assert min(done.values()) > 0
    assert len(done) == 14
    assert await deadlocks(database) == before


ALL_ENDED = "SELECT 1 FROM durable.runs HAVING bool_and(status IN ('completed', 'failed', 'cancelled'))"
