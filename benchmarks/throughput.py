"""How many runs worker processes complete per second: with sequential steps, transaction steps, 100 steps at once,
sleeps, and events.

All runs are begun, and all events published, before the workers start; the time is measured from the first claim to the
last end, by the database's clock. Each step is durable (fsync on) before the next one begins. The workers and the
server share the machine's cores.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import psycopg

from benchmarks.processes import worker_processes
from benchmarks.setting import SCHEMA, Figure, Setting, fresh_schema
from benchmarks.workflows import branches, listening, naps, steps, transactions
from durable import AsyncClient, RunKey, Workflow

_LOOK_SECONDS = 0.05


class Load(msgspec.Struct, frozen=True):
    """The second figure counts the ``memos`` of each run and calls them ``what``."""

    name: str
    workflow: Workflow[Any, Any]
    input: Any
    runs: int
    memos: int
    what: str = "steps"
    target: float | None = None
    target_of_memos: float | None = None
    processes: tuple[int, ...] = (1,)


LOADS = (
    Load("1-step runs", steps, 1, 20_000, 1, target=10_000, processes=(1, 2, 3, 4)),
    Load("10-step runs", steps, 10, 4_000, 10, target_of_memos=25_000, processes=(1, 2, 3, 4)),
    Load("runs with 1 transaction step", transactions, 1, 4_000, 1),
    Load("runs with 10 transaction steps", transactions, 10, 800, 10),
    Load("runs with 100 steps at once", branches, 100, 400, 100),
    Load("runs with 10 sleeps of 10 ms", naps, 10, 2_000, 10, "sleeps"),
    Load("runs with 1 event", listening, None, 10_000, 1, "events"),
)


async def measure(setting: Setting) -> list[Figure]:
    figures: list[Figure] = []
    for load in LOADS:
        for count in load.processes[:1] if setting.is_once else load.processes:
            seconds = [await _round(setting, load, count) for _ in range(setting.rounds)]
            figures += _figures(load, setting.size(load.runs, 50), count, seconds)
    return figures


def _figures(load: Load, runs: int, count: int, seconds: list[float]) -> list[Figure]:
    name = f"{load.name}, {count} {'process' if count == 1 else 'processes'}"
    rates = [runs / each for each in seconds]
    is_first = count == 1
    found = [Figure(name, "runs/s", rates, load.target if is_first else None)]
    if load.memos > 1:
        memos = [rate * load.memos for rate in rates]
        found.append(Figure(name, f"{load.what}/s", memos, load.target_of_memos if is_first else None))
    return found


async def _round(setting: Setting, load: Load, count: int) -> float:
    runs = setting.size(load.runs, 50)
    with fresh_schema(setting.dsn) as look:
        async with AsyncClient(setting.dsn, schema=SCHEMA) as client:
            keys = await client.begin_many(load.workflow, [load.input] * runs)
            if load.workflow is listening:
                await _publish(client, keys)
        look.execute(f"VACUUM ANALYZE {SCHEMA}.runs, {SCHEMA}.events")
        with worker_processes(setting.dsn, count, "WORKFLOWS"):
            return await asyncio.to_thread(_await_ends, look, load, runs)


async def _publish(client: AsyncClient, keys: list[RunKey]) -> None:
    for first in range(0, len(keys), 100):
        await asyncio.gather(*(client.publish_event(key, "go", "now") for key in keys[first : first + 100]))


def _await_ends(look: psycopg.Connection[Any], load: Load, runs: int) -> float:
    # Index probes, so that looking costs the engine nothing.
    is_open = " OR ".join(
        f"EXISTS (SELECT FROM {SCHEMA}.runs WHERE status = '{status}' AND workflow_name_shard = %(shard)s)"
        for status in ("queued", "running", "sleeping", "waiting_event")
    )
    shard = {"shard": f"{load.workflow.name}_0"}
    while look.execute(f"SELECT {is_open}", shard).fetchone() == (True,):
        time.sleep(_LOOK_SECONDS)
    row = look.execute(
        "SELECT extract(epoch FROM max(completed_at) - min(started_at))::float8,"
        f" count(*) FILTER (WHERE status = 'completed'), (SELECT count(*) FROM {SCHEMA}.steps)"
        f" + (SELECT count(*) FROM {SCHEMA}.waits) FROM {SCHEMA}.runs"
    ).fetchone()
    assert row is not None
    seconds, *recorded = row
    assert recorded == [runs, runs * load.memos], row
    return float(seconds)
