"""What is told when a worker is killed."""

from __future__ import annotations

import asyncio
import signal

import pytest

from durable import AsyncClient, Worker
from durable.telemetry import Observer, TakenOver
from tests.watching import until
from tests.worker.processes import WorkerProcess, entries, prepare, three_steps


class Takeovers(Observer):
    def __init__(self) -> None:
        self.told: list[TakenOver] = []

    def taken_over(self, told: TakenOver) -> None:
        self.told.append(told)


async def test_whoever_takes_over_the_runs_of_a_killed_worker_tells_how_many(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_DSN", database)  # where the steps note that they were called
    prepare(database)
    observer = Takeovers()
    async with AsyncClient(database) as client:
        with WorkerProcess(database, hangs=True) as victim:
            handle = await client.begin(three_steps, "second")
            await until(lambda: "second" in entries(database))
            await asyncio.to_thread(victim.signal, signal.SIGKILL)
            async with Worker(database, [three_steps], lease=2, observer=observer):
                await handle.result(timeout=20)
    assert [(told.runs, told.crash_loops) for told in observer.told] == [(1, 0)]
