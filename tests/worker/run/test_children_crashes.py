"""Parents and children whose workers are killed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

import psycopg
import pytest

from durable import Client
from tests.worker.processes import WorkerProcess, crashing_child, entries, one_child, prepare, until

ALL = ["prepare", "first", "second", "third", "finish"]


def run_count(dsn: str) -> tuple[int, int]:
    """All runs, and the children among them."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*), count(parent_run_id) FROM durable.runs").fetchone()
        assert row is not None
        return int(row[0]), int(row[1])


def is_dead_or(is_over: Callable[[], bool], worker: WorkerProcess) -> bool:
    return worker.process.poll() is not None or is_over()


@pytest.mark.parametrize("hanging", ["prepare", "second", "finish"])
def test_one_child_is_begun_whenever_the_worker_is_killed(database: str, hanging: str) -> None:
    prepare(database)
    with Client(database) as client, WorkerProcess(database, hangs=True) as victim:
        handle = client.begin(one_child, hanging)
        until(lambda: hanging in entries(database))
        victim.signal(signal.SIGKILL)
        with WorkerProcess(database):
            assert handle.result(timeout=20) == ALL
    assert run_count(database) == (2, 1)
    expected = [*ALL[: ALL.index(hanging)], hanging, *ALL[ALL.index(hanging) :]]
    assert entries(database) == expected


def test_a_child_that_kills_its_workers_fails_and_wakes_its_parent(database: str) -> None:
    prepare(database)
    with Client(database) as client:
        handle = client.begin(crashing_child)

        def is_over() -> bool:
            return handle.info().status == "completed"

        for _ in range(6):
            if not is_over():
                with WorkerProcess(database) as worker:
                    until(partial(is_dead_or, is_over, worker))
        assert handle.result(timeout=1) == "CrashLoop"
    assert run_count(database) == (2, 1)
