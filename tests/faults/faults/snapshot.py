"""A transaction that stays open, for which dead rows must be kept."""

from __future__ import annotations

import asyncio
import time

import psycopg

from tests.faults.stage import Stage, fault

_LOOK_SECONDS = 1.0
_MOST_BEFORE = 30
_MOST_TIMES = 3.0
_NOISE_SECONDS = 0.02
_CLAIMS = """
    SELECT count(*), percentile_cont(0.95) WITHIN GROUP (ORDER BY waited) FROM (
        SELECT extract(epoch FROM pg_xact_commit_timestamp(moved.xid) - run.created_at)::float8 AS waited
        FROM transitions AS moved JOIN durable.runs AS run USING (run_id)
        WHERE moved.old_status = 'queued' AND moved.old_epoch = 0 AND run.schedule_id IS NULL
          AND run.created_at BETWEEN to_timestamp(%s) AND to_timestamp(%s)) AS claims
"""
_HELD = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'idle in transaction' AND backend_xmin IS NOT NULL"
_DEAD = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'durable' AND relname = 'runs'"


@fault(
    row=12,
    how="a REPEATABLE READ transaction that stays idle, checked once per second; autovacuum every 5 s",
    target=f"95 of 100 runs claimed within {_MOST_TIMES:g} times the time that it took before",
    sizes={"smoke": 3, "campaign": 150, "soak": 3600},
    workers=3,
    is_timed=True,
    server_settings={"autovacuum_naptime": "5s"},
)
async def snapshot(stage: Stage) -> None:
    began = time.time()
    await asyncio.sleep(_LOOK_SECONDS * min(stage.size, _MOST_BEFORE))
    opened = time.time()
    async with await psycopg.AsyncConnection.connect(stage.options.direct, application_name="reader") as reader:
        await reader.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await reader.execute("SELECT count(*) FROM durable.runs")
        while stage.count < stage.size:
            await asyncio.sleep(_LOOK_SECONDS)
            stage.injected(len(await stage.observer.rows(_HELD, (reader.info.backend_pid,))))
        ((dead,),) = await stage.observer.rows(_DEAD)
        # At the end it is worst.
        last = max(opened, time.time() - _LOOK_SECONDS * _MOST_BEFORE)
        ((count, waited),) = await stage.observer.rows(_CLAIMS, (last, time.time()))
        await reader.rollback()
    ((_, usual),) = await stage.observer.rows(_CLAIMS, (began, opened))
    if waited is None or waited > _MOST_TIMES * usual + _NOISE_SECONDS:
        stage.violated(
            "I10", f"of {count} runs five of a hundred were claimed after {waited} s, before after {usual} s"
        )
    stage.noted(f"claimed after {1000 * waited:.0f} ms, before after {1000 * usual:.0f} ms; {dead} dead rows of runs")
