"""DBOS Transact (`dbos`): async workflows and steps on a queue that is polled ten times as often as by default."""

from __future__ import annotations

import sys
import time

import psycopg
from dbos import DBOS, DBOSClient, DBOSConfig

_QUEUE = "benchmark"
_VERSION = "1"
_CONCURRENCY = 100
_POLL_SECONDS = 0.1
_OPEN = "SELECT count(*) FROM dbos.workflow_status WHERE name = 'steps' AND status <> 'SUCCESS'"
_SECONDS = (
    "SELECT (max(completed_at) - min(started_at_epoch_ms))::float8 / 1000, count(*)"
    " FROM dbos.workflow_status WHERE name = 'steps'"
)


@DBOS.step(name="increment")
async def increment(number: int) -> int:
    return number + 1


@DBOS.workflow(name="steps")
async def steps(count: int) -> int:
    number = 0
    for _ in range(count):
        number = await increment(number)
    return number


def launch(dsn: str) -> None:
    DBOS(
        config=DBOSConfig(
            name="benchmark",
            system_database_url=dsn,
            application_version=_VERSION,
            sys_db_pool_size=50,
            log_level="ERROR",
        )
    )
    DBOS.launch()
    DBOS.register_queue(_QUEUE, worker_concurrency=_CONCURRENCY, polling_interval_sec=_POLL_SECONDS)


def main(dsn: str, runs: int, count: int) -> float:
    launch(dsn)
    DBOS.destroy()
    client = DBOSClient(system_database_url=dsn)
    for _ in range(runs):
        client.enqueue({"workflow_name": "steps", "queue_name": _QUEUE, "app_version": _VERSION}, count)
    client.destroy()
    launch(dsn)
    with psycopg.connect(dsn, autocommit=True) as look:
        while look.execute(_OPEN).fetchone() != (0,):
            time.sleep(_POLL_SECONDS)
        row = look.execute(_SECONDS).fetchone()
    DBOS.destroy()
    assert row is not None
    assert row[1] == runs
    return float(row[0])


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
