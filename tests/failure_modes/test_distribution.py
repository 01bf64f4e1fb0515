"""Failure modes G: a node that dies, as far as one server can show it: a shard value on which every write fails."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from durable import AsyncClient, Context, Every, Worker, workflow
from durable.admin.migration import migrate
from durable.core.schedules.timetable import run_id_of
from durable.core.shards import shard_value
from tests.watching import rows, until

DEAD = "placed_0"


async def node_dies(dsn: str, statements: str) -> None:
    """Has such statements on runs of one shard value answered as a coordinator does whose node is down."""
    await rows(
        dsn,
        "CREATE TABLE public.dead_node ();"
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'connection to the node failed' USING ERRCODE = '08006'; END $$;"
        f"CREATE TRIGGER refuse BEFORE {statements} ON durable.runs FOR EACH ROW"
        f" WHEN (new.workflow_name_shard = '{DEAD}') EXECUTE FUNCTION public.refuse()",
    )


@workflow
async def placed(ctx: Context) -> str:
    return "done"


async def test_g1_a_dead_workers_runs_on_living_shards_are_taken_over_though_one_shard_is_dead(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    migrate(database, shard_count=4)
    dead_worker = str(uuid.uuid4())
    await rows(
        database,
        "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input, status, worker_id, epoch)"
        " SELECT 'placed_' || shard, gen_random_uuid(), 'placed', 'null', 'running', %s, 1"
        " FROM generate_series(0, 3) AS shard",
        dead_worker,
    )
    await rows(
        database,
        "INSERT INTO durable.workers (worker_id, lock_key, hostname, process_id, workflows, lease, heartbeat_at)"
        " VALUES (%s, 1, 'gone', 1, '{placed}', 1, now() - interval '1 hour')",
        dead_worker,
    )
    await node_dies(database, "INSERT OR UPDATE")
    async with Worker(database, [placed]):
        await until(
            lambda: rows(database, "SELECT 1 FROM durable.runs WHERE takeovers = 1 HAVING count(*) = 3"), seconds=8
        )


async def test_g1_a_schedule_whose_run_belongs_on_a_dead_shard_holds_up_no_other(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    migrate(database, shard_count=4)
    tick = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=5)
    shards = {name: shard_value("placed", run_id_of(name, tick), 4) for name in map(str, range(100))}
    bad = next(name for name, shard in shards.items() if shard == DEAD)
    good = next(name for name, shard in shards.items() if shard != DEAD)
    async with AsyncClient(database) as client:
        for name in (bad, good):
            await client.schedule(placed, None, name, Every(3600))
        await rows(database, "UPDATE durable.schedules SET next_tick_at = %s, due_at = %s", tick, tick)
        await node_dies(database, "INSERT OR UPDATE")
        async with Worker(database, [placed]):
            await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE schedule_id = %s", good), seconds=8)


async def latency(client: AsyncClient) -> float:
    """Seconds from begin to result on the shards that live, in the median."""
    took: list[float] = []
    while len(took) < 40:
        key = str(uuid.uuid4())
        started = time.monotonic()
        handle = await client.begin(placed, key=key)
        if handle.run_key.workflow_name_shard == DEAD:
            continue
        await handle.result(timeout=20)
        took.append(time.monotonic() - started)
    return statistics.median(took)


async def test_g1_a_dead_shard_stops_its_own_runs_and_slows_no_other(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    migrate(database, shard_count=4)
    async with AsyncClient(database) as client, Worker(database, [placed]):
        before = await latency(client)
        await node_dies(database, "UPDATE")
        stuck = [
            handle
            for handle in [await client.begin(placed) for _ in range(40)]
            if handle.run_key.workflow_name_shard == DEAD
        ]
        assert stuck
        during = await latency(client)
        assert [(await handle.info()).status for handle in stuck] == ["queued"] * len(stuck)
        await rows(database, "DROP TRIGGER refuse ON durable.runs")
        await asyncio.gather(*(handle.result(timeout=20) for handle in stuck))
        after = await latency(client)  # other programs may have come to this machine meanwhile
    assert during < 2 * max(before, after) + 0.05
