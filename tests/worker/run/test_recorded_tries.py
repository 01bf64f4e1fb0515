"""The tries of a step belong to its run: they are recorded, and a long wait for the next one parks the run."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Call,
    Client,
    Context,
    RetryPolicy,
    RunFailed,
    RunRetryPolicy,
    StepFailed,
    Worker,
    Workflow,
    current_step,
    exponential,
    workflow,
)
from tests.watching import reached, rows, until
from tests.worker.flows import greeting, running
from tests.worker.processes import WorkerProcess, entries, failing, prepare
from tests.worker.processes import until as until_sync

TRIES = "SELECT wait_key, wait_type, payload ->> 'failures' FROM durable.waits ORDER BY 1"
PATIENT = RetryPolicy(max_retries=3, backoff=3600)


class Refusing:
    """A step that fails until it is told otherwise."""

    def __init__(self) -> None:
        self.attempts: list[int] = []
        self.is_willing = False

    async def call(self) -> str:
        self.attempts.append(current_step().attempt)
        if not self.is_willing:
            raise ConnectionError("not yet")
        return "at last"

    async def book(self, tx: psycopg.AsyncConnection[Any]) -> str:
        return await self.call()


def refusing(kind: str, step: Refusing, policy: RetryPolicy) -> Workflow[None, str]:
    @workflow(name="refusing")
    async def wf(ctx: Context) -> str:
        if kind == "transaction":
            return await ctx.transaction(Call("call", retry=policy), step.book)
        return await ctx.execute(Call("call", retry=policy), step.call)

    return wf


async def wake(database: str) -> None:
    """Lets the next try of every step be due."""
    await rows(database, "UPDATE durable.waits SET wake_at = now() WHERE wait_type = 'retry'")
    await rows(database, "UPDATE durable.runs SET next_wake_at = now() WHERE status = 'sleeping'")


@pytest.mark.parametrize("kind", ["step", "transaction"])
async def test_a_run_sleeps_between_distant_tries_and_shows_why(database: str, kind: str) -> None:
    step = Refusing()
    simple = greeting(Counter())
    wf = refusing(kind, step, PATIENT)
    async with AsyncClient(database) as client, Worker(database, [wf, simple]) as worker:
        handle = await client.begin(wf)
        for number in (1, 2):
            await until(lambda number=number: len(step.attempts) == number)
            await reached(client, handle.run_key, "sleeping")
            await until(lambda: worker.status().active_runs == 0)
            info = await handle.info()
            assert info.error is not None
            assert info.error.type == "StepFailed"
            assert info.error.message == (
                f"step 'call' failed in try {number} and will be tried again: ConnectionError: not yet"
            )
            assert "raise ConnectionError" in (info.error.traceback or "")
            assert info.next_wake_at is not None
            assert timedelta(minutes=44) < info.next_wake_at - datetime.now(UTC) < timedelta(minutes=76)
            assert (info.attempts, info.takeovers) == (0, 0)
            assert await rows(database, TRIES) == [("call", "retry", str(number))]
            assert await rows(database, "SELECT * FROM durable.steps WHERE step_key = 'call'") == []
            assert await (await client.begin(simple, "World")).result(timeout=10) == "Hello, World!"
            step.is_willing = number == 2
            await wake(database)
        assert await handle.result(timeout=20) == "at last"
        assert (await handle.info()).error is None
    assert step.attempts == [1, 2, 3]
    assert await rows(database, "SELECT * FROM durable.waits") == []
    query = "SELECT attempts, status FROM durable.steps WHERE step_key = 'call'"
    assert await rows(database, query) == [(3, "completed")]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize("delay", [0.8, 3.0], ids=["here", "parked"])
def test_restarts_between_tries_add_no_call(database: str, delay: float, signum: signal.Signals) -> None:
    prepare(database)
    with Client(database) as client:
        handle = client.begin(failing, delay)
        for number in (1, 2, 3):
            with WorkerProcess(database) as worker:
                until_sync(lambda number=number: len(entries(database)) >= 2 * number)
                until_sync(lambda number=number: _failures(database) == [number, number])
                worker.signal(signum)
                worker.process.wait(20)
        with WorkerProcess(database):
            handle.result(timeout=30)
    assert Counter(entry.split(",")[0] for entry in entries(database)) == {"book": 4, "call": 4}
    if signum == signal.SIGTERM:  # after a kill, there is no telling whether a call was under way
        expected = [f"{name}, try {number}" for number in (1, 2, 3, 4) for name in ("book", "call")]
        assert sorted(entries(database), key=lambda entry: (entry[-1], entry)) == expected


def _failures(database: str) -> list[int]:
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT (payload ->> 'failures')::int FROM durable.waits WHERE wait_type = 'retry' ORDER BY 1"
        )
        return [int(row[0]) for row in found.fetchall()]


def test_a_call_that_a_crash_interrupts_is_counted_but_uses_up_no_retry(database: str) -> None:
    prepare(database)
    from tests.worker.processes import counting

    with Client(database) as client, WorkerProcess(database, hangs=True) as victim:
        handle = client.begin(counting)
        until_sync(lambda: _details(database) == ["3"])
        victim.signal(signal.SIGKILL)
        with WorkerProcess(database):
            assert handle.result(timeout=20) == [3, 2], "the second call goes on where the first one was"
    assert entries(database) == ["begins at 0", "begins at 3"]
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT attempts FROM durable.steps").fetchall() == [(2,)]
        assert connection.execute("SELECT count(*) FROM durable.waits").fetchall() == [(0,)]


def _details(database: str) -> list[str]:
    with psycopg.connect(database) as connection:
        return [row[0] for row in connection.execute("SELECT payload ->> 'detail' FROM durable.waits").fetchall()]


async def test_what_happens_beside_a_step_that_waits_for_its_next_try_happens_at_once(database: str) -> None:
    step = Refusing()

    async def other() -> str:
        return "beside it"

    @workflow
    async def two(ctx: Context) -> list[str]:
        async def branch() -> str:
            news = await ctx.wait_for_event("wait", "news", str)
            return f"{news} {await ctx.execute('other', other)}"

        return list(await asyncio.gather(ctx.execute(Call("call", retry=PATIENT), step.call), branch()))

    async with AsyncClient(database) as client, Worker(database, [two]):
        handle = await client.begin(two)
        await reached(client, handle.run_key, "waiting_event")
        await handle.publish_event("news", "good")
        await until(lambda: rows(database, "SELECT 1 FROM durable.steps WHERE step_key = 'other'"))
        await reached(client, handle.run_key, "sleeping")
        assert step.attempts == [1]
        step.is_willing = True
        await wake(database)
        assert await handle.result(timeout=20) == ["at last", "good beside it"]


@pytest.mark.parametrize("delay", [0.9, 3600.0], ids=["here", "parked"])
@pytest.mark.parametrize("how", ["cancelled", "timed out", "race"])
async def test_a_step_that_waits_for_its_next_try_can_be_given_up(database: str, delay: float, how: str) -> None:
    step = Refusing()
    policy = RetryPolicy(max_retries=50, backoff=delay)

    async def clean_up() -> str:
        return how

    @workflow
    async def giving_up(ctx: Context) -> str:
        call = ctx.execute(Call("call", retry=policy), step.call)
        try:
            if how == "race":
                going = asyncio.ensure_future(call)
                await ctx.wait_for_event("wait", "go")
                going.cancel()
            else:
                async with ctx.timeout("limit", 2 if how == "timed out" else 3600):
                    return await call
        except (TimeoutError, asyncio.CancelledError):
            await ctx.execute("cleaned", clean_up)
            raise
        return await ctx.execute("cleaned", clean_up)

    async with AsyncClient(database) as client, Worker(database, [giving_up]):
        handle = await client.begin(giving_up)
        await until(lambda: rows(database, "SELECT 1 FROM durable.waits WHERE wait_type = 'retry'"))
        if how == "cancelled":
            await handle.cancel()
        elif how == "race":
            await handle.publish_event("go")
        await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE completed_at IS NOT NULL"))
        expected = {"cancelled": "cancelled", "timed out": "failed", "race": "completed"}[how]
        assert (await handle.info()).status == expected
    assert await rows(database, "SELECT step_key FROM durable.steps WHERE kind = 'execute'") == [("cleaned",)]
    assert await rows(database, "SELECT * FROM durable.waits WHERE wait_type = 'retry'") == []


async def test_each_attempt_of_the_run_has_all_its_tries(database: str) -> None:
    step = Refusing()

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
    async def trying(ctx: Context) -> str:
        return await ctx.execute(Call("call", retry=RetryPolicy(max_retries=2, backoff=0.01)), step.call)

    async with running(database, trying) as client:
        handle = await client.begin(trying)
        with pytest.raises(RunFailed):
            await handle.result(timeout=20)
        assert step.attempts == [1, 2, 3] * 2
        await handle.retry()
        await until(lambda: len(step.attempts) == 9)
        await reached(client, handle.run_key, "failed")
    assert await rows(database, "SELECT * FROM durable.waits") == []


async def test_a_retry_by_hand_of_what_was_terminated_between_tries_begins_with_the_first(database: str) -> None:
    step = Refusing()
    wf = refusing("step", step, PATIENT)
    async with AsyncClient(database) as client, Worker(database, [wf]):
        handle = await client.begin(wf)
        await reached(client, handle.run_key, "sleeping")
        await handle.terminate()
        await reached(client, handle.run_key, "cancelled")
        step.is_willing = True
        await handle.retry()
        assert await handle.result(timeout=20) == "at last"
    assert step.attempts == [1, 1]
    assert await rows(database, "SELECT * FROM durable.waits") == []


async def test_a_step_renamed_by_a_deploy_between_its_tries_sets_the_run_aside(database: str) -> None:
    step = Refusing()

    async def renamed() -> str:
        return "never called"

    @workflow(name="refusing")
    async def changed(ctx: Context) -> str:
        return await ctx.execute(Call("call", retry=PATIENT), renamed)

    wf = refusing("step", step, PATIENT)
    async with AsyncClient(database) as client:
        async with Worker(database, [wf]):
            handle = await client.begin(wf)
            await reached(client, handle.run_key, "sleeping")
        await wake(database)
        async with Worker(database, [changed]):

            async def is_set_aside() -> bool:
                return (await handle.info()).status_reason == "set_aside"

            await until(is_set_aside)
            info = await handle.info()
            assert info.error is not None
            assert "Refusing.call" in info.error.message
            assert "renamed" in info.error.message
        step.is_willing = True
        await wake(database)
        async with Worker(database, [wf]):
            assert await handle.result(timeout=20) == "at last"
    assert step.attempts == [1, 2]


async def test_new_code_may_change_the_policy_of_a_step_between_its_tries(database: str) -> None:
    step = Refusing()
    before, after = (refusing("step", step, policy) for policy in (PATIENT, RetryPolicy(max_retries=0)))
    async with AsyncClient(database) as client:
        async with Worker(database, [before]):
            handle = await client.begin(before)
            await reached(client, handle.run_key, "sleeping")
        await wake(database)
        async with Worker(database, [after]):
            with pytest.raises(RunFailed):
                await handle.result(timeout=20)
    assert step.attempts == [1, 2]


async def test_a_worker_that_stops_waits_for_no_next_try(database: str) -> None:
    step = Refusing()
    wf = refusing("step", step, RetryPolicy(max_retries=50, backoff=0.7))
    async with AsyncClient(database) as client:
        async with Worker(database, [wf], graceful_shutdown_timeout=30):
            handle = await client.begin(wf)
            await until(lambda: rows(database, "SELECT 1 FROM durable.waits WHERE wait_type = 'retry'"))
        assert (await handle.info()).status == "queued"
        tries = len(step.attempts)
        assert await rows(database, TRIES) == [("call", "retry", str(tries))]
        step.is_willing = True
        async with Worker(database, [wf]):
            assert await handle.result(timeout=20) == "at last"
    assert step.attempts == [*range(1, tries + 2)]


async def test_a_row_that_cannot_be_read_costs_one_run_its_count_and_nothing_else(database: str) -> None:
    step = Refusing()
    wf = refusing("step", step, PATIENT)
    async with AsyncClient(database) as client, Worker(database, [wf], max_resident=1):
        handles = [await client.begin(wf) for _ in range(3)]
        for handle in handles:
            await reached(client, handle.run_key, "sleeping")
        spoiled = handles[0].run_key.run_id
        await rows(database, "UPDATE durable.waits SET payload = '{\"kind\": 3}' WHERE run_id = %s", spoiled)
        step.is_willing = True
        await wake(database)
        assert [await handle.result(timeout=20) for handle in handles] == ["at last"] * 3
    assert sorted(step.attempts) == [1, 1, 1, 1, 2, 2]


async def test_many_steps_of_one_run_fail_and_are_tried_again_together(database: str) -> None:
    calls: Counter[int] = Counter()

    async def flaky(number: int) -> int:
        calls[number] += 1
        if calls[number] <= number % 4:
            raise ConnectionError
        return number

    @workflow
    async def wide(ctx: Context, count: int) -> int:
        policy = RetryPolicy(max_retries=3, backoff=exponential(0.01, 1))
        answers = await asyncio.gather(
            *(ctx.execute(Call(f"step {n}", retry=policy), flaky, n) for n in range(count)), return_exceptions=True
        )
        return sum(not isinstance(answer, StepFailed) for answer in answers)

    async with AsyncClient(database) as client, Worker(database, [wide]):
        handle = await client.begin(wide, 400)
        assert await handle.result(timeout=60) == 400
    assert calls.total() == sum(n % 4 + 1 for n in range(400))
    query = "SELECT attempts, count(*)::int FROM durable.steps GROUP BY 1 ORDER BY 1"
    assert await rows(database, query) == [(1, 100), (2, 100), (3, 100), (4, 100)]
    assert await rows(database, "SELECT * FROM durable.waits") == []
