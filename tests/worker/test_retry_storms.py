"""What fails for the same cause waits in one line: few statements, few log lines, and all of it back at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from durable import AsyncClient, Context, Every, Worker, Workflow, workflow
from durable.admin.migration import migrate
from durable.worker import outages
from durable.worker.outages import FailureLog, Outages
from tests.proxy import Proxy
from tests.watching import rows, until

SHARDS = 4


def flow(name: str) -> Workflow[None, str]:
    async def done(ctx: Context) -> str:
        return await ctx.execute("step", str, "done")

    return workflow(name=name)(done)


FLOWS = [flow(f"flow{index}") for index in range(3)]


@workflow
async def ticking(ctx: Context) -> None: ...


@asynccontextmanager
async def read_only(dsn: str, workers: str = "the worker") -> AsyncIterator[None]:
    """The database is as a standby is: it takes connections and reads, and refuses to write."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
        name = sql.Identifier(admin.info.dbname)
        reconnect = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        await admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        await admin.execute(reconnect, [workers])
        try:
            yield
        finally:
            await admin.execute("SET default_transaction_read_only = off")
            await admin.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))


async def rolled_back(dsn: str) -> int:
    await rows(dsn, "SELECT pg_stat_clear_snapshot()")
    ((count,),) = await rows(dsn, "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")
    return int(count)


def lines_by_text(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    return Counter(record.getMessage() for record in caplog.records if record.name.startswith("durable"))


async def test_a_read_only_database_gets_few_hopeless_statements_and_the_worker_is_back_at_once(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    migrate(database, shard_count=SHARDS)
    dsn = make_conninfo(database, application_name="the worker")
    async with AsyncClient(database) as client, Worker(dsn, [*FLOWS, ticking], poll_interval=0.05) as worker:
        await client.schedule(ticking, None, "ticking", Every(1))
        caplog.clear()
        async with read_only(database):
            await asyncio.sleep(5)  # the pauses have grown by then
            before = await rolled_back(database)
            await asyncio.sleep(5)
            failed = await rolled_back(database) - before
        ended = time.monotonic()
        handles = [await client.begin(one) for one in FLOWS for _ in range(SHARDS)]
        assert [await handle.result(timeout=20) for handle in handles] == ["done"] * len(handles)
        assert time.monotonic() - ended < 5
        await until(worker.healthy)
    # Three lines of tries: the heartbeat's, once a second at most, the takeover's, and that of all the rest.
    assert failed <= 20
    assert max(lines_by_text(caplog).values()) == 1
    assert sum("database unavailable" in text for text in lines_by_text(caplog).elements()) <= 4


async def test_a_missing_right_gets_few_hopeless_statements_and_one_line(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    migrate(database, shard_count=SHARDS)
    role = f"limited_{uuid4().hex[:8]}"
    await rows(database, f"CREATE ROLE {role} LOGIN SUPERUSER")
    dsn = make_conninfo(database, user=role)
    try:
        async with AsyncClient(database) as client, Worker(dsn, FLOWS, poll_interval=0.05):
            caplog.clear()
            await rows(database, f"GRANT USAGE ON SCHEMA durable TO {role}")
            await rows(database, f"GRANT ALL ON ALL TABLES IN SCHEMA durable TO {role}")
            await rows(database, f"REVOKE ALL ON durable.events FROM {role}")
            await rows(database, f"ALTER ROLE {role} NOSUPERUSER")
            await asyncio.sleep(5)
            before = await rolled_back(database)
            await asyncio.sleep(5)
            failed = await rolled_back(database) - before
            await rows(database, f"GRANT ALL ON durable.events TO {role}")
            assert await (await client.begin(FLOWS[0])).result(timeout=20) == "done"
    finally:
        await rows(database, f"DROP OWNED BY {role}")
        await rows(database, f"DROP ROLE {role}")
    assert failed <= 10
    assert sum("claiming runs of" in text for text in lines_by_text(caplog).elements()) == 1


async def test_a_worker_is_back_within_two_seconds_of_an_outage(database: str) -> None:
    async with Proxy(database) as proxy, AsyncClient(database) as client:
        async with Worker(proxy.conninfo, FLOWS, poll_interval=0.05):
            proxy.refuse()
            proxy.cut()
            await asyncio.sleep(6)
            proxy.accept()
            accepted = time.monotonic()
            handles = [await client.begin(one) for one in FLOWS]
            assert [await handle.result(timeout=20) for handle in handles] == ["done"] * len(handles)
            assert time.monotonic() - accepted < 4


async def test_a_dispatcher_that_cannot_hand_over_rests_between_its_tries(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    def broken(_: str) -> Any:
        nonlocal tries
        tries += 1
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("durable.worker.passed_on.announce_runs_to_all", broken)
    async with AsyncClient(database) as client, Worker(database, FLOWS, poll_interval=0.01) as worker:
        dispatcher = worker._dispatchers["flow0"]
        dispatcher._passed_on.waiting(["flow0_0"])
        dispatcher.poll()
        await asyncio.sleep(3)
        assert 2 <= tries <= 8
        monkeypatch.undo()
        assert await (await client.begin(FLOWS[0])).result(timeout=20) == "done"


# the line of those that failed


class Line:
    """Duties that fail for one cause, and when each of them was tried again."""

    def __init__(self) -> None:
        self.outages = Outages(FailureLog())
        self.tried: list[tuple[str, float]] = []
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []

    def fail(self, duty: str, error: Exception, *, for_ever: bool = False) -> None:
        self._tasks.append(asyncio.create_task(self._fail(duty, error, for_ever=for_ever)))

    async def _fail(self, duty: str, error: Exception, *, for_ever: bool) -> None:
        while True:
            await self.outages.pause(duty, error)
            self.tried.append((duty, self._loop.time()))
            if not for_ever:
                return

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


LOST = psycopg.OperationalError("the connection is lost")


async def test_many_duties_with_one_cause_are_tried_one_after_the_other_and_ever_more_slowly() -> None:
    line = Line()
    for index in range(50):
        line.fail(f"duty {index}", LOST, for_ever=True)
    await asyncio.sleep(6)
    await line.leave()
    moments = [moment for _, moment in line.tried]
    gaps = [after - before for before, after in pairwise(moments)]
    assert 3 <= len(moments) <= 8
    assert gaps[0] < 1 < gaps[-1]


async def test_one_success_has_all_others_of_its_cause_tried_again_at_once() -> None:
    line = Line()
    for index in range(50):
        line.fail(f"duty {index}", LOST)
    line.fail("another", ZeroDivisionError("a defect"), for_ever=True)
    await until(lambda: len(line.tried) >= 2)
    duty = next(duty for duty, _ in line.tried if duty != "another")
    line.outages.succeeded(duty)
    await until(lambda: len({duty for duty, _ in line.tried}) == 51, seconds=1)
    await line.leave()


async def test_a_conflict_of_one_duty_holds_up_no_other() -> None:
    line = Line()
    for index in range(50):
        line.fail(f"duty {index}", psycopg.errors.DeadlockDetected("deadlock detected"))
    await until(lambda: len(line.tried) == 50, seconds=1)
    await line.leave()


async def test_a_success_between_two_failures_does_not_begin_the_pauses_again() -> None:
    line = Line()
    began = asyncio.get_running_loop().time()
    for _ in range(7):
        line.fail("flapping", LOST)
        tried = len(line.tried)
        await until(lambda: len(line.tried) > tried)  # noqa: B023 - awaited at once
        line.outages.succeeded("flapping")
    assert asyncio.get_running_loop().time() - began > 4


async def test_a_duty_that_is_cancelled_leaves_the_line() -> None:
    line = Line()
    line.fail("cancelled", LOST)
    await asyncio.sleep(0)
    await line.leave()
    assert line.tried == []
    assert line.outages._failing == {}


async def test_a_cause_gets_a_line_a_minute_that_counts_what_was_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = FailureLog()
    for index in range(1000):
        log.failed(f"duty {index}", psycopg.errors.ReadOnlySqlTransaction(f"statement {index}"))
    assert len(caplog.records) == 1
    monkeypatch.setattr(outages, "_LINE_SECONDS", 0.0)
    log.failed("at last", psycopg.errors.ReadOnlySqlTransaction("no"))
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "(999 more failures since the last such line)" in caplog.records[-1].getMessage()
