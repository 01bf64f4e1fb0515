"""What history costs: the time of a claim and of a flush of 100 runs beside 10 million finished, 1 million sleeping
and 100,000 queued runs, as a multiple of the time without history measured just before (the median of 200 such pairs);
and the bytes per run.

Claims and flushes are the engine's own statements, executed and rolled back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import psycopg

from benchmarks.setting import SCHEMA, Figure, Setting, fresh_schema
from durable.core.replay.endings import Settle
from durable.postgres.transactions import sync_execute
from durable.store.claims import claim_runs
from durable.store.flush import flush
from durable.store.operation import Operation, Running
from durable.store.records import Record, StepMemo
from durable.store.statement import Batch, T
from durable.worker.database import PLANS

_FINISHED, _SLEEPING, _QUEUED = 10_000_000, 1_000_000, 100_000
_BATCH = 100
_TRIES = 200
_WORKER = "00000000-0000-0000-0000-000000000001"
_FILLING = """
    INSERT INTO {schema}.runs (workflow_name_shard, run_id, workflow_name, status, epoch, created_at, started_at,
                               completed_at, next_wake_at, input, output)
    SELECT 'steps_0', gen_random_uuid(), 'steps', '{status}', {epoch}, now(), now(),
           CASE WHEN '{status}' = 'completed' THEN now() END,
           CASE WHEN '{status}' = 'sleeping' THEN now() + interval '1 day' * (1 + random()) END,
           '1', CASE WHEN '{status}' = 'completed' THEN '1'::json END
    FROM generate_series(1, {count})
"""
_MEMOS = """
    INSERT INTO {schema}.steps (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at, input, output)
    SELECT workflow_name_shard, run_id, 'step 0', 'execute', 'completed', 1, 'increment', now(), '[[0],{{}}]', '1'
    FROM {schema}.runs WHERE status = 'completed'
"""


async def measure(setting: Setting) -> list[Figure]:
    beside, size = await asyncio.to_thread(_beside_history, setting)
    return [*beside, *size]


def _beside_history(setting: Setting) -> tuple[list[Figure], list[Figure]]:
    grown = f"{SCHEMA}_grown"
    with fresh_schema(setting.dsn) as look, fresh_schema(setting.dsn, schema=grown):
        for schema, scale in ((SCHEMA, 0), (grown, 1)):
            counts = {
                "completed": scale * setting.size(_FINISHED, 1000),
                "sleeping": scale * setting.size(_SLEEPING, 100),
                "queued": setting.size(_QUEUED, 200),
            }
            for status, count in counts.items():
                epoch = 0 if status == "queued" else 1
                look.execute(_FILLING.format(schema=schema, status=status, epoch=epoch, count=count))
            look.execute(_MEMOS.format(schema=schema))
            look.execute(f"VACUUM ANALYZE {schema}.runs, {schema}.steps")
        look.execute("CHECKPOINT")
        times: dict[tuple[str, str], list[float]] = {}
        for _ in range(setting.size(_TRIES, 3)):
            for schema in (SCHEMA, grown):
                for what, seconds in zip(("claim", "flush"), _claim_and_flush(setting.dsn, schema), strict=True):
                    times.setdefault((what, schema), []).append(seconds)
        finished = setting.size(_FINISHED, 1000)
        return [
            Figure(
                f"{what} of {_BATCH} runs beside {finished:,} finished ones ÷ the same without",
                "times",
                [
                    _median(
                        [
                            beside / without
                            for without, beside in zip(times[what, SCHEMA], times[what, grown], strict=True)
                        ]
                    )
                ],
                1.2,
                is_cost=True,
            )
            for what in ("claim", "flush")
        ], _bytes_a_run(look, grown)


def _claim_and_flush(dsn: str, schema: str) -> tuple[float, float]:
    with psycopg.connect(dsn) as connection:
        connection.execute(PLANS)
        connection.prepare_threshold = 0
        started = time.perf_counter()
        claimed = _execute(connection, schema, claim_runs("steps_0", _WORKER, _BATCH))
        claiming = time.perf_counter() - started
        assert len(claimed) == _BATCH
        records = [
            Record(
                each.run_id,
                each.epoch,
                entries=[StepMemo("step 0", "execute", 1, "increment", 1, 0.0, "[[0],{}]", "1", None)],
                ending=Settle(status="completed", output="1"),
            )
            for each in claimed
        ]
        started = time.perf_counter()
        written = _execute(connection, schema, flush("steps_0", _WORKER, records, is_repeat=False, is_leaving=False))
        flushing = time.perf_counter() - started
        assert all(each.is_ours for each in written)
        connection.rollback()
    return claiming, flushing


def _execute(connection: psycopg.Connection[Any], schema: str, operation: Operation[T]) -> T:
    """Executes it as the engine would, statement by statement in the open transaction; nothing is committed."""
    execute = sync_execute(connection)
    running = Running(operation)
    while isinstance(running.request, Batch):
        running.answer([execute(asked.query.text(schema), asked.params) for asked in running.request.asked])
    return running.result


def _bytes_a_run(look: psycopg.Connection[Any], schema: str) -> list[Figure]:
    row = look.execute(
        f"SELECT pg_table_size('{schema}.runs') + pg_table_size('{schema}.steps'),"
        f" pg_indexes_size('{schema}.runs') + pg_indexes_size('{schema}.steps'), count(*) FROM {schema}.runs"
    ).fetchone()
    assert row is not None
    table, indexes, runs = row
    return [
        Figure("table bytes a run, with a memo", "B", [table / runs], is_cost=True),
        Figure("index bytes a run, with a memo", "B", [indexes / runs], is_cost=True),
    ]


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
