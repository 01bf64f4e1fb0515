"""durable at its defaults, as `durable worker` runs it."""

from __future__ import annotations

import subprocess
import sys
import time

import psycopg

from benchmarks.workflows import steps
from durable import Client
from durable.admin import migrate

_LOOK_SECONDS = 0.05
_IS_OPEN = "SELECT EXISTS (SELECT FROM durable.runs WHERE status IN ('queued', 'running'))"
_SECONDS = "SELECT extract(epoch FROM max(completed_at) - min(started_at))::float8, count(*) FROM durable.runs"


def main(dsn: str, runs: int, count: int) -> float:
    with Client(dsn) as client:
        client.begin_many(steps, [count] * runs)
    command = [sys.executable, "-m", "durable", "worker", "--dsn", dsn, "benchmarks.workflows:steps"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker, psycopg.connect(dsn, autocommit=True) as look:
        try:
            while look.execute(_IS_OPEN).fetchone() == (True,):
                time.sleep(_LOOK_SECONDS)
        finally:
            worker.terminate()
        row = look.execute(_SECONDS).fetchone()
    assert row is not None
    assert row[1] == runs
    return float(row[0])


if __name__ == "__main__":
    migrate(sys.argv[1])
    print(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
