"""Who is condemned when workers die, and who is not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Client, Context, Handle, RunCancelled, RunFailed, Worker, workflow
from tests.watching import reached, rows
from tests.worker.processes import WorkerProcess, crashing, dawdling, entries, prepare, quick_flow, until


@contextmanager
def supervised(dsn: str, **options: Any) -> Iterator[list[WorkerProcess]]:
    """Starts a worker as soon as the one before has died; all that there have been."""
    started: list[WorkerProcess] = []
    stop = Event()

    def supervise() -> None:
        while not stop.is_set():
            with WorkerProcess(dsn, **options) as worker:
                started.append(worker)
                while worker.process.poll() is None and not stop.wait(0.02):
                    pass

    thread = Thread(target=supervise)
    thread.start()
    try:
        yield started
    finally:
        stop.set()
        thread.join()


def is_executed(handle: Handle[Any]) -> bool:
    return handle.info().status == "running"


def test_a_run_that_kills_its_workers_takes_no_slow_neighbor_with_it(database: str) -> None:
    prepare(database)
    with Client(database) as client:
        neighbors = [client.begin(dawdling, 3.0) for _ in range(4)]
        poison = client.begin(crashing)
        with supervised(database):
            assert [neighbor.result(timeout=90) for neighbor in neighbors] == ["done"] * 4
            with pytest.raises(RunFailed, match="CrashLoop") as raised:
                poison.result(timeout=90)
    assert any(str(neighbor.run_key) in raised.value.error.message for neighbor in neighbors)
    assert str(poison.run_key) not in raised.value.error.message.partition("with it died")[2]
    assert entries(database).count("crash") <= 7


def test_five_kills_by_an_operator_condemn_nobody(database: str) -> None:
    prepare(database)
    with Client(database) as client:
        innocents = [client.begin(dawdling, 2.0) for _ in range(3)]
        for _ in range(5):
            with WorkerProcess(database) as worker:
                until(lambda: any(is_executed(innocent) for innocent in innocents), 60)
                worker.signal(signal.SIGKILL)
        with WorkerProcess(database):
            assert [innocent.result(timeout=60) for innocent in innocents] == ["done"] * 3


def test_a_lone_run_that_an_operator_kills_five_times_is_not_condemned(database: str) -> None:
    prepare(database)
    with Client(database) as client:
        innocent = client.begin(dawdling, 1.0)
        for _ in range(5):
            with WorkerProcess(database, max_strikes=5) as worker:
                until(lambda: is_executed(innocent), 60)
                worker.signal(signal.SIGKILL)
        with WorkerProcess(database, max_strikes=5):
            assert innocent.result(timeout=60) == "done"


def test_ordinary_runs_do_not_starve_while_a_suspect_is_tried(database: str) -> None:
    prepare(database)
    with Client(database) as client:
        suspect = client.begin(dawdling, 60.0)
        for _ in range(3):
            with WorkerProcess(database) as worker:
                until(lambda: is_executed(suspect), 60)
                worker.signal(signal.SIGKILL)
        with WorkerProcess(database):
            until(lambda: is_executed(suspect), 60)
            assert client.begin(quick_flow, "meanwhile").result(timeout=40) == "meanwhile"
            assert suspect.info().status == "running"
            assert isolation_of(database, suspect) is None, "it has survived its trial"


def isolation_of(dsn: str, handle: Handle[Any]) -> Any:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT isolation FROM durable.runs WHERE run_id = %s", (handle.run_key.run_id,)
        ).fetchone()
    assert row is not None
    return row[0]


async def test_a_suspect_that_is_cancelled_ends_without_being_tried_again(database: str) -> None:
    calls: list[str] = []

    async def kill() -> None:
        calls.append("kill")

    @workflow
    async def poison(ctx: Context) -> None:
        await ctx.execute("kill", kill)

    async with AsyncClient(database) as client:
        handle = await client.begin(poison)
        await rows(
            database,
            "UPDATE durable.runs SET status = 'sleeping', epoch = 6, strikes = 3, isolation = 'alone',"
            " next_wake_at = now() + interval '1 hour'",
        )
        assert (await handle.info()).status_reason == "suspect"
        await handle.cancel("it kills its workers")
        async with Worker(database, [poison]):
            with pytest.raises(RunCancelled, match="it kills its workers"):
                await handle.result(timeout=20)
    assert calls == []


@pytest.mark.parametrize("isolation", ["group", "alone", "sole"])
async def test_a_suspect_that_is_due_is_tried_and_goes_on(database: str, isolation: str) -> None:
    @workflow
    async def innocent(ctx: Context) -> str:
        return await ctx.wait_for_event("go", "go", str)

    async with AsyncClient(database) as client:
        suspect = await client.begin(innocent)
        await rows(
            database,
            "UPDATE durable.runs SET status = 'sleeping', epoch = 6, strikes = 6, isolation = %s, next_wake_at = now()",
            isolation,
        )
        async with Worker(database, [innocent]):
            await reached(client, suspect.run_key, "waiting_event")
            assert await rows(database, "SELECT isolation FROM durable.runs") == [(None,)]
            other = await client.begin(innocent)
            for handle in (suspect, other):
                await handle.publish_event("go", "on")
                assert await handle.result(timeout=20) == "on"


async def test_a_worker_driven_by_hand_tries_suspects_too(database: str) -> None:
    @workflow
    async def innocent(ctx: Context) -> str:
        return "done"

    async with AsyncClient(database) as client:
        suspect = await client.begin(innocent)
        await rows(
            database,
            "UPDATE durable.runs SET status = 'sleeping', epoch = 6, strikes = 3, isolation = 'alone',"
            " next_wake_at = now()",
        )
        assert await Worker(database, [innocent]).process_one()
        assert await suspect.result(timeout=0) == "done"
