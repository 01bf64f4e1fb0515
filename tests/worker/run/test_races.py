"""An event, a cancel and a timeout race for one wait: one of them wins, for ever."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Context,
    EventTimeout,
    RunCancelled,
    RunKey,
    RunNotCancellable,
    RunTerminal,
    Worker,
    workflow,
)
from durable.core.codec.json_codec import JsonCodec
from durable.core.replay.commands import Complete, EndCancelled
from durable.postgres.pipeline import run
from durable.store.claims import comebacks, load
from durable.store.records import ClaimedRun
from durable.store.statement import Batch
from durable.worker.clock import Clock
from durable.worker.run.attempt import Attempt

RUNS = 120
MOST_ROUNDS = 6


@workflow
async def contested(ctx: Context) -> list[str]:
    seen: list[str] = []
    for turn in range(3):
        try:
            seen.append(await ctx.wait_for_event(f"wait {turn}", "go", str, timeout=0.15))
        except EventTimeout:
            seen.append("timeout")
    return seen


async def replayed(connection: psycopg.AsyncConnection[Any], run_key: RunKey) -> str:
    """How the run ends if it is executed again from what is recorded, with nothing new to happen."""
    loaded = await run(connection, "durable", Batch(load(run_key.workflow_name_shard, [run_key.run_id], [])))
    history = comebacks([run_key.run_id], [], loaded)[run_key.run_id].history
    assert history is not None
    cursor = await connection.execute("SELECT now()")
    (now,) = await cursor.fetchone() or (None,)
    claimed = ClaimedRun(run_key.run_id, 9, 1, 0, 0, "null", now, None, None)
    attempt = Attempt(contested, run_key, claimed, JsonCodec(), Clock())
    machine = attempt.machine(history)
    ends: list[str] = []
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def replay() -> None:  # in a callback, as the engine does: no machine may step inside a task
        endings = [
            command for command in machine.start(attempt.main(machine)) if isinstance(command, Complete | EndCancelled)
        ]
        ends.extend(ending.output if isinstance(ending, Complete) else "cancelled" for ending in endings)
        machine.close()
        done.set_result(None)

    loop.call_soon(replay)
    await done
    assert len(ends) == 1
    return ends[0]


@pytest.mark.parametrize("resident", [1, 10_000], ids=["replayed", "in place"])
async def test_what_was_seen_once_is_what_every_replay_sees(database: str, resident: int) -> None:
    chance, found = random.Random(7), set[str]()
    for share in range(1, MOST_ROUNDS + 1):
        found.update(await race(database, resident, chance, longest=0.25 / share))
        if len(found) > 3:
            return
    raise AssertionError(f"the race was none: {found}")


async def race(database: str, resident: int, chance: random.Random, *, longest: float) -> list[str]:
    """How the runs ended. On a slow machine all of them would time out, were the events not sent sooner."""

    async def disturb(client: AsyncClient, run_key: RunKey, number: int) -> None:
        for name in ("one", "two"):
            await asyncio.sleep(chance.uniform(0, longest))
            try:
                await client.publish_event(run_key, "go", name)
            except RunTerminal:
                return
        await asyncio.sleep(chance.uniform(0, longest))
        if number % 2:
            try:
                await client.cancel_run(run_key)
            except RunNotCancellable:
                return

    async def outcome(client: AsyncClient, run_key: RunKey) -> str:
        try:
            seen = await client.handle(run_key, contested).result(timeout=30)
        except RunCancelled:
            return "cancelled"
        return JsonCodec().encode(seen, "what was seen")

    async with AsyncClient(database) as client:
        run_keys = await client.begin_many(contested, [None] * RUNS)
        async with Worker(database, [contested], max_resident=resident), Worker(database, [contested]):
            async with asyncio.TaskGroup() as group:
                for number, run_key in enumerate(run_keys):
                    group.create_task(disturb(client, run_key, number))
            outcomes = [await outcome(client, run_key) for run_key in run_keys]

    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        assert [await replayed(connection, run_key) for run_key in run_keys] == outcomes
        cursor = await connection.execute(
            "SELECT count(*) FROM (SELECT event_id FROM durable.waits WHERE event_id IS NOT NULL"
            " GROUP BY run_id, event_id HAVING count(*) > 1) AS twice"
        )
        assert await cursor.fetchone() == (0,)
    return outcomes
