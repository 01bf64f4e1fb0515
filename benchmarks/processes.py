"""Workers in separate processes, started as `durable worker` starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.setting import SCHEMA

_ROOT = Path(__file__).parent.parent
_PATIENCE = 30.0
_SECONDS = 0.01


@contextmanager
def worker_processes(
    dsn: str, count: int, *workflows: str, names: str = "benchmarks.workflows"
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Starts ``count`` worker processes and yields them once they are registered; stops them at the end of the
    block."""
    command = [sys.executable, "-m", "durable", "worker", "--dsn", dsn, "--schema", SCHEMA]
    command += [f"{names}:{workflow}" for workflow in workflows]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    processes = [subprocess.Popen(command, cwd=_ROOT, env=environment, stderr=subprocess.DEVNULL) for _ in range(count)]
    try:
        _await_registered(dsn, count)
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()


def _await_registered(dsn: str, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    with psycopg.connect(dsn, autocommit=True) as look:
        while look.execute(f"SELECT count(*) FROM {SCHEMA}.workers").fetchone() != (count,):
            if time.monotonic() > deadline:
                raise TimeoutError("the workers have not registered")
            time.sleep(_SECONDS)
