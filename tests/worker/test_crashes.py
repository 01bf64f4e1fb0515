"""What a killed, hung or stopped worker process leaves behind, and who goes on with it."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta
from itertools import pairwise

import psycopg
import pytest

from durable import Client, Every, RunFailed
from tests.worker.processes import (
    LEASE,
    WorkerProcess,
    booking,
    crashing,
    entries,
    in_chapters,
    prepare,
    three_steps,
    ticking,
    until,
)


def owner_is_gone(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM durable.workers").fetchone()
        return row == (0,)


def test_a_finished_step_never_runs_again_when_the_worker_is_killed_inside_the_next(database: str) -> None:
    prepare(database)
    with Client(database) as client, WorkerProcess(database, hangs=True) as victim:
        handle = client.begin(three_steps, "second")
        until(lambda: "second" in entries(database))
        victim.signal(signal.SIGKILL)
        with WorkerProcess(database):
            assert handle.result(timeout=20) == ["first", "second", "third"]
        assert handle.info().takeovers == 1

    assert entries(database) == ["first", "second", "second", "third"]


def test_a_killed_workers_runs_are_executed_elsewhere_whatever_its_lease(database: str) -> None:
    prepare(database)
    an_hour = 3600.0
    with Client(database) as client, WorkerProcess(database, hangs=True, lease=an_hour) as victim:
        handle = client.begin(three_steps, "first")
        until(lambda: entries(database))
        with WorkerProcess(database, lease=an_hour):
            until(lambda: workers(database) == 2)
            victim.signal(signal.SIGKILL)
            assert handle.result(timeout=20) == ["first", "second", "third"]


def workers(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM durable.workers").fetchone()
        assert row is not None
        return int(row[0])


def test_a_transaction_interrupted_by_a_kill_has_happened_exactly_once(database: str) -> None:
    prepare(database)
    with Client(database) as client, WorkerProcess(database, hangs=True) as victim:
        handle = client.begin(booking)
        until(lambda: "booked" in entries(database))
        victim.signal(signal.SIGKILL)
        with WorkerProcess(database):
            assert handle.result(timeout=20) == ["before", "booked"]

    assert entries(database, "ledger") == ["booked"]


def test_a_worker_that_wakes_after_its_lease_writes_nothing(database: str) -> None:
    prepare(database)
    with Client(database) as client, WorkerProcess(database, hangs=True) as zombie:
        handle = client.begin(booking)
        until(lambda: "booked" in entries(database))
        zombie.signal(signal.SIGSTOP)
        with WorkerProcess(database):
            assert handle.result(timeout=LEASE + 20) == ["before", "booked"]
            with psycopg.connect(database) as connection:
                finished = connection.execute("SELECT epoch, updated_at FROM durable.runs").fetchone()
            zombie.signal(signal.SIGCONT)
            until(lambda: workers(database) == 2)
            with psycopg.connect(database) as connection:
                assert connection.execute("SELECT epoch, updated_at FROM durable.runs").fetchone() == finished

    assert entries(database, "ledger") == ["booked"]


def test_a_stopping_worker_hands_its_runs_back_at_once(database: str) -> None:
    prepare(database)
    with Client(database) as client, WorkerProcess(database, hangs=True) as stopping:
        handle = client.begin(three_steps, "second")
        until(lambda: "second" in entries(database))
        stopping.signal(signal.SIGTERM)
        assert stopping.process.wait(timeout=20) == 0
        assert handle.info().status == "queued"
        assert owner_is_gone(database)
        with WorkerProcess(database):
            assert handle.result(timeout=20) == ["first", "second", "third"]
        assert handle.info().takeovers == 0


def test_a_run_that_kills_its_workers_ends_failed(database: str) -> None:
    prepare(database)
    with Client(database) as client:
        handle = client.begin(crashing)
        for _ in range(6):
            with WorkerProcess(database) as worker:
                until(lambda worker=worker: worker.process.poll() is not None or handle.info().status == "failed")
            if handle.info().status == "failed":
                break
        status = handle.info()

        assert status.error is not None
        assert (status.status, status.error.type, status.takeovers) == ("failed", "CrashLoop", 5)
        try:
            handle.result(timeout=1)
        except RunFailed as error:
            assert error.error.type == "CrashLoop"
        else:
            raise AssertionError("a failed run has no result")


def ticks(dsn: str) -> list[datetime]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute("SELECT scheduled_at FROM durable.runs ORDER BY 1").fetchall()]


def test_each_tick_begins_one_run_whatever_dies(database: str) -> None:
    prepare(database)
    with Client(database) as client, WorkerProcess(database) as survivor:
        client.schedule(ticking, None, "often", Every(0.02), catch_up="all")
        for _ in range(3):
            with WorkerProcess(database) as victim:
                seen = len(ticks(database))
                until(lambda seen=seen: workers(database) == 2 and len(ticks(database)) > seen + 20)
                victim.signal(signal.SIGKILL)
        survivor.signal(signal.SIGKILL)
        survivor.process.wait()
        with WorkerProcess(database):
            seen = len(ticks(database))
            until(lambda: len(ticks(database)) > seen)
            client.delete_schedule("often")
            until(lambda: all(run.status == "completed" for run in client.list_runs(limit=10_000)))

    assert {after - before for before, after in pairwise(ticks(database))} == {timedelta(seconds=0.02)}


@pytest.mark.parametrize(
    ("hanging", "twice"), [("item", "a"), ("undo", "undo car")], ids=["in a map", "in a compensation"]
)
def test_a_kill_in_a_map_or_while_a_saga_undoes_repeats_only_what_it_interrupted(
    database: str, hanging: str, twice: str
) -> None:
    prepare(database)
    with Client(database) as client, WorkerProcess(database, hangs=True) as victim:
        handle = client.begin(in_chapters, hanging)
        until(lambda: twice in entries(database))
        victim.signal(signal.SIGKILL)
        with WorkerProcess(database):
            assert handle.result(timeout=20) == ["True", "2"]
    once = ["a", "b", "c", "hotel", "car", "undo car", "undo hotel"]
    assert entries(database) == [entry for name in once for entry in [name] * (2 if name == twice else 1)]
