"""What any login of the database may do to the locks of workers and of `durable migrate`: nothing that they notice.

Advisory locks are open to everyone, and everyone sees who holds them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from durable import AsyncClient, Client, Context, Worker, workflow
from durable.admin import migrate
from durable.postgres.drive import run
from durable.store.sessions import end_sessions, share_lock
from tests.client.colours import rows
from tests.watching import until as until_true
from tests.worker.processes import WorkerProcess, entries, prepare, three_steps, until

_SEEN = """
    SELECT DISTINCT classid::bigint, objid::bigint, objsubid FROM pg_locks
    WHERE locktype = 'advisory' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@contextmanager
def login(database: str) -> Iterator[str]:
    """A conninfo of a role that may do nothing but log in."""
    name = f"stranger_{uuid4().hex[:8]}"
    rows(database, f"CREATE ROLE {name} LOGIN")
    try:
        yield make_conninfo(database, user=name)
    finally:
        rows(database, f"DROP ROLE {name}")


class Queue:
    """Queues for every advisory lock that is held now, each in a session of its own."""

    def __init__(self, stranger: str) -> None:
        self._sessions: list[psycopg.Connection] = []
        for high, low, form in rows(stranger, _SEEN):
            key = f"{(high << 32) | low}::bigint" if form == 1 else f"{_signed(high)}, {_signed(low)}"
            session = psycopg.connect(stranger, autocommit=True)
            self._sessions.append(session)
            threading.Thread(target=self._wait, args=(session, key), daemon=True).start()
        until(lambda: rows(stranger, _WAITING)[0][0] == len(self._sessions))

    def __len__(self) -> int:
        return len(self._sessions)

    @staticmethod
    def _wait(session: psycopg.Connection, key: str) -> None:
        with suppress(psycopg.Error):
            session.execute(f"SELECT pg_advisory_lock({key})".encode())

    def end(self, database: str) -> None:
        for session in self._sessions:
            rows(database, "SELECT pg_terminate_backend(%s)", session.info.backend_pid)
            session.close()


def _signed(half: int) -> int:
    return half - (1 << 32) if half >> 31 else half


@contextmanager
def queued(stranger: str, database: str) -> Iterator[Queue]:
    queue = Queue(stranger)
    try:
        yield queue
    finally:
        queue.end(database)


async def stepping(tx: psycopg.AsyncConnection[tuple[int]]) -> int:
    await tx.execute("SELECT pg_sleep(0.01)")
    return 1


@workflow
async def transacting(ctx: Context) -> int:
    return await ctx.transaction("step", stepping)


async def test_a_worker_opens_connections_while_strangers_queue_for_its_locks(database: str) -> None:
    named = make_conninfo(database, application_name="the worker")
    ours = "FROM pg_stat_activity WHERE application_name = 'the worker'"
    with login(database) as stranger:
        async with AsyncClient(database) as client, Worker(named, [transacting]) as worker:
            await until_true(lambda: worker.status().is_listening)
            queue = await asyncio.to_thread(Queue, stranger)
            try:
                assert len(queue) >= 2  # of the lease, and of the other sessions
                assert rows(database, f"SELECT count(pg_terminate_backend(pid)) {ours}")[0][0] > 3
                run_keys = await client.begin_many(transacting, [None] * 30)
                results = [client.handle(run_key, transacting).result(timeout=15) for run_key in run_keys]
                assert await asyncio.gather(*results) == [1] * 30
                assert worker.healthy()
            finally:
                await asyncio.to_thread(queue.end, database)


def test_a_dead_worker_is_not_kept_alive_by_a_stranger_who_takes_its_lock(database: str) -> None:
    prepare(database)
    with (
        login(database) as stranger,
        Client(database) as client,
        WorkerProcess(database, hangs=True, lease=60) as victim,
    ):
        handle = client.begin(three_steps, "second")
        until(lambda: "second" in entries(database))
        with queued(stranger, database):
            victim.signal(signal.SIGKILL)
            began = time.monotonic()
            with WorkerProcess(database, lease=60):
                assert handle.result(timeout=30) == ["first", "second", "third"]
            assert time.monotonic() - began < 30  # half a lease
        assert handle.info().takeovers == 1


def test_the_sessions_of_a_dead_worker_are_ended_although_strangers_have_its_mark(database: str) -> None:
    key = 0x7EDCBA9889ABCDEF
    with login(database) as stranger, login(database) as worker:
        with (
            closing(psycopg.connect(stranger, autocommit=True)) as marked_by_stranger,
            closing(psycopg.connect(worker, autocommit=True)) as dead,
            closing(psycopg.connect(worker, autocommit=True)) as other,
        ):
            for session in (marked_by_stranger, dead):
                assert run(session, "durable", share_lock(key, session.info.backend_pid, {})).is_marked
            run(other, "durable", end_sessions(key))
            with pytest.raises(psycopg.OperationalError):
                dead.execute("SELECT 1")
            marked_by_stranger.execute("SELECT 1")


def test_a_mark_that_a_stranger_holds_is_not_waited_for(database: str) -> None:
    with login(database) as stranger, closing(psycopg.connect(stranger, autocommit=True)) as holder:
        holder.execute("SELECT pg_advisory_lock(0, 7)")
        with closing(psycopg.connect(database, autocommit=True)) as session:
            assert not run(session, "durable", share_lock(7, session.info.backend_pid, {})).is_marked


def test_migrate_waits_for_no_lock_that_a_stranger_can_hold(bare_database: str) -> None:
    key = int.from_bytes(sha256(b"durable migrate durable").digest()[:8], "big", signed=True)
    with login(bare_database) as stranger, closing(psycopg.connect(stranger, autocommit=True)) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [key])
        limited = make_conninfo(bare_database, options="-c statement_timeout=20s")
        assert migrate(limited)
        assert migrate(limited, shard_count=4) == []
