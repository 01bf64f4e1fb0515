"""The limit: only the row work of such runs, in sets of 500 runs, on durable's own tables. There is no workflow code,
nothing is encoded, and the only client is the one that sends the statements: this is the most that a durable engine
could reach on this server.

Each step is committed separately, as an engine has to: first the claim, then each step but the last, then the last step
with the end of the run.
"""

from __future__ import annotations

import asyncio
import sys
import time

import psycopg

from benchmarks.workflows import steps
from durable import AsyncClient
from durable.admin import migrate

_BATCH = 500
_CLAIM = """
    WITH claimed AS MATERIALIZED (
        SELECT run_id FROM durable.runs WHERE workflow_name_shard = 'steps_0' AND status = 'queued'
        ORDER BY priority DESC, created_at, run_id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
    )
    UPDATE durable.runs AS run
    SET status = 'running', epoch = epoch + 1, worker_id = %(worker_id)s, started_at = now(), updated_at = now()
    FROM claimed WHERE run.workflow_name_shard = 'steps_0' AND run.run_id = claimed.run_id
"""
_STEP = """
    INSERT INTO durable.steps (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at, input, output)
    SELECT workflow_name_shard, run_id, 'step ' || %(index)s, 'execute', 'completed', %(index)s + 1, 'increment', now(),
           '[[0],{}]', '1'
    FROM durable.runs WHERE workflow_name_shard = 'steps_0' AND status = 'running' AND worker_id = %(worker_id)s
"""
_END = """
    UPDATE durable.runs
    SET status = 'completed', output = '1', worker_id = NULL, completed_at = now(), updated_at = now()
    WHERE workflow_name_shard = 'steps_0' AND status = 'running' AND worker_id = %(worker_id)s
"""


async def begin(dsn: str, runs: int, count: int) -> None:
    async with AsyncClient(dsn) as client:
        await client.begin_many(steps, [count] * runs)


def main(dsn: str, runs: int, count: int) -> float:
    asyncio.run(begin(dsn, runs, count))
    values = {"worker_id": "00000000-0000-0000-0000-000000000001", "batch": _BATCH}
    with psycopg.connect(dsn, autocommit=True) as connection:
        started = time.perf_counter()
        for _ in range(-(-runs // _BATCH)):
            connection.execute(_CLAIM, values)
            for index in range(count - 1):
                connection.execute(_STEP, {**values, "index": index})
            with connection.transaction():
                connection.execute(_STEP, {**values, "index": count - 1})
                connection.execute(_END, values)
        seconds = time.perf_counter() - started
        completed = connection.execute("SELECT count(*) FROM durable.runs WHERE status = 'completed'").fetchone()
    assert completed == (runs,)
    return seconds


if __name__ == "__main__":
    migrate(sys.argv[1])
    print(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
