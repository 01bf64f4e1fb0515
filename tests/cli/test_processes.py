"""`durable worker --processes N`, as an operator meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from durable import Client
from tests.worker.processes import ROOT, prepare, three_steps, until

SECONDS = 20.0


@contextmanager
def supervisor(dsn: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "durable", "worker", *arguments, "--dsn", dsn]
    environment = {**os.environ, "TEST_DSN": dsn, "TEST_HANGS": "", "PYTHONPATH": ROOT}
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def pids(dsn: str) -> set[int]:
    with psycopg.connect(dsn) as connection:
        return {row[0] for row in connection.execute("SELECT process_id FROM durable.workers").fetchall()}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_several_processes_share_the_work_and_stop_together(database: str) -> None:
    prepare(database)
    with supervisor(database, "tests.worker.processes:WORKFLOWS", "--processes", "2") as process:
        until(lambda: len(pids(database)) == 2)
        with Client(database) as client:
            assert client.begin(three_steps, "").result(timeout=SECONDS) == ["first", "second", "third"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    assert not pids(database)


def test_a_process_that_was_killed_is_replaced(database: str) -> None:
    prepare(database)
    with supervisor(database, "tests.worker.processes:three_steps", "--processes", "2") as process:
        first = until(lambda: len(found := pids(database)) == 2 and found)
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        second = until(lambda: len(found := pids(database) - {victim}) == 2 and found)
        assert len(first & second) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0


def test_processes_stop_when_the_one_above_them_is_killed(database: str) -> None:
    with supervisor(database, "tests.worker.processes:three_steps", "--processes", "2") as process:
        children = until(lambda: len(found := pids(database)) == 2 and found)
        process.kill()
        until(lambda: not any(is_alive(pid) for pid in children))
    assert not pids(database)


def test_what_is_refused_is_said_once_by_each_and_not_tried_again(bare_database: str) -> None:
    with supervisor(bare_database, "tests.worker.processes:three_steps", "--processes", "2") as process:
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "durable migrate" in said
    assert "Traceback" not in said


def test_a_number_of_processes_that_cannot_be_meant_is_refused(database: str) -> None:
    with supervisor(database, "tests.worker.processes:three_steps", "--processes", "0") as process:
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "at least 1" in said
