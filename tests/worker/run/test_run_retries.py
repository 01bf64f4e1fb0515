"""A run that failed is tried anew; what it had finished is kept."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Call,
    Context,
    RetryPolicy,
    RunFailed,
    RunRetryPolicy,
    StepFailed,
    Terminal,
    Worker,
    Workflow,
    exponential,
    workflow,
)
from tests.watching import rows
from tests.worker.flows import process_all, process_until_there_is_one, running

NEVER = RetryPolicy(max_retries=0)


class Unlucky(RuntimeError):
    """What the body of the fixture raises."""


def failing(calls: Counter[str], failures: int, *, max_attempts: int, backoff: float = 0) -> Workflow[None, str]:
    """A first step that always succeeds, then a body that fails its first executions."""

    async def first() -> str:
        calls["step1"] += 1
        return "first"

    @workflow(retry=RunRetryPolicy(max_attempts=max_attempts, backoff=backoff))
    async def stubborn(ctx: Context) -> str:
        value = await ctx.execute("step1", first)
        calls["body"] += 1
        if calls["body"] <= failures:
            raise Unlucky(f"unlucky for the {calls['body']}. time")
        return value

    return stubborn


async def test_47_a_run_succeeds_after_retries_that_keep_its_steps(database: str) -> None:
    calls: Counter[str] = Counter()
    stubborn = failing(calls, 2, max_attempts=5)
    worker = Worker(database, [stubborn])
    async with AsyncClient(database) as client:
        handle = await client.begin(stubborn)
        assert await worker.process_one()
        status = await handle.info()
        assert status.error is not None
        assert (status.status, status.error.message) == ("queued", "unlucky for the 1. time")
        assert await worker.process_one()
        assert await worker.process_one()

        status = await handle.info()
        assert (status.status, status.attempts, status.error, status.next_wake_at) == ("completed", 2, None, None)
        assert await handle.result(timeout=0) == "first"
    assert calls == {"step1": 1, "body": 3}


async def test_48_a_run_fails_after_its_last_attempt(database: str) -> None:
    calls: Counter[str] = Counter()
    stubborn = failing(calls, 100, max_attempts=2)
    worker = Worker(database, [stubborn])
    async with AsyncClient(database) as client:
        handle = await client.begin(stubborn)
        assert await process_all(worker) == 2

        status = await handle.info()
        assert status.error is not None
        assert (status.status, status.attempts, status.error.type) == ("failed", 2, "Unlucky")
        assert not await worker.process_one()
    assert calls == {"step1": 1, "body": 2}


async def raise_plainly() -> None:
    raise Terminal("no use")


async def raise_wrapped() -> None:
    try:
        raise Terminal("no use")
    except Terminal as error:
        raise RuntimeError("wrapped") from error


@pytest.mark.parametrize("hopeless", [raise_plainly, raise_wrapped], ids=["plain", "wrapped"])
@pytest.mark.parametrize("where", ["workflow", "step"])
async def test_49_a_terminal_error_skips_every_retry(database: str, hopeless: Any, where: str) -> None:
    calls: Counter[str] = Counter()

    async def step() -> None:
        calls["step"] += 1
        await hopeless()

    @workflow(retry=RunRetryPolicy(max_attempts=5, backoff=0))
    async def giving_up(ctx: Context) -> None:
        calls["body"] += 1
        if where == "workflow":
            await hopeless()
        await ctx.execute(Call("step", retry=RetryPolicy(max_retries=5, backoff=0)), step)

    worker = Worker(database, [giving_up])
    async with AsyncClient(database) as client:
        handle = await client.begin(giving_up)
        assert await process_all(worker) == 1
        status = await handle.info()
        assert (status.status, status.attempts) == ("failed", 1)
    assert calls == ({"body": 1, "step": 1} if where == "step" else {"body": 1})


async def test_50_the_backoff_delays_the_next_attempt(database: str) -> None:
    stubborn = failing(Counter(), 100, max_attempts=3, backoff=30)
    worker = Worker(database, [stubborn])
    async with AsyncClient(database) as client:
        handle = await client.begin(stubborn)
        assert await worker.process_one()
        status = await handle.info()
        assert (status.status, status.attempts) == ("sleeping", 1)
        assert status.next_wake_at is not None
        assert timedelta(seconds=15) < status.next_wake_at - datetime.now(UTC) < timedelta(seconds=45)
        assert not await worker.process_one()


async def test_51_a_failing_statement_of_one_attempt_harms_neither_its_memos_nor_the_next(database: str) -> None:
    calls: Counter[str] = Counter()

    async def first() -> str:
        calls["step1"] += 1
        return "first"

    async def statement(tx: psycopg.AsyncConnection[Any]) -> str:
        calls["statement"] += 1
        await tx.execute("SELECT 1 / 0" if calls["statement"] == 1 else "SELECT 1")
        return "second"

    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def stubborn(ctx: Context) -> list[str]:
        calls["body"] += 1
        return [
            await ctx.execute("step1", first),
            await ctx.transaction(Call("statement", retry=RetryPolicy(max_retries=0)), statement),
        ]

    worker = Worker(database, [stubborn])
    async with AsyncClient(database) as client:
        handle = await client.begin(stubborn)
        assert await process_all(worker) == 2
        assert await handle.result(timeout=0) == ["first", "second"]
        assert (await handle.info()).attempts == 1
    assert calls == {"step1": 1, "body": 2, "statement": 2}


def test_52_exponential_delays_double_up_to_the_maximum() -> None:
    backoff = exponential(timedelta(milliseconds=100), 1)
    assert [backoff.delay(failures) for failures in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


async def test_a_run_that_is_tried_anew_keeps_its_finished_steps_and_forgets_the_failed(database: str) -> None:
    calls: Counter[str] = Counter()

    async def steady() -> str:
        calls["steady"] += 1
        return "steady"

    async def flaky() -> str:
        calls["flaky"] += 1
        if calls["flaky"] < 3:
            raise ConnectionError("not yet")
        return "there"

    async def tidy() -> str:
        calls["tidy"] += 1
        return "tidy"

    @workflow(retry=RunRetryPolicy(max_attempts=5, backoff=exponential(0.01, 0.01)))
    async def stubborn(ctx: Context) -> list[Any]:
        steady_value = await ctx.execute("steady", steady)
        try:
            flaky_value = await ctx.execute(Call("flaky", retry=NEVER), flaky)
        except StepFailed:
            await ctx.execute("tidy", tidy)
            raise
        return [steady_value, flaky_value, ctx.attempt]

    async with running(database, stubborn) as client:
        handle = await client.begin(stubborn)
        assert await handle.result(timeout=10) == ["steady", "there", 3]
        assert (await handle.info()).attempts == 2
    assert calls == {"steady": 1, "flaky": 3, "tidy": 1}


@pytest.mark.parametrize(("error", "attempts"), [(Terminal("no"), 1), (ValueError("again"), 3)])
async def test_a_run_fails_after_its_last_attempt_or_at_once(database: str, error: Exception, attempts: int) -> None:
    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def failing(ctx: Context) -> None:
        raise error

    async with running(database, failing) as client:
        handle = await client.begin(failing)
        with pytest.raises(RunFailed, match=str(error)):
            await handle.result(timeout=10)
        assert (await handle.info()).attempts == attempts


class Panic(BaseException):
    """Not an ``Exception``: what catches only those lets it through."""


@pytest.mark.parametrize("error", [Panic("panic"), SystemExit("panic")], ids=lambda error: type(error).__name__)
async def test_a_panic_of_the_workflow_is_tried_anew_like_any_error(database: str, error: BaseException) -> None:
    calls: Counter[str] = Counter()

    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def panicking(ctx: Context) -> int:
        calls["body"] += 1
        if calls["body"] < 3:
            raise error
        return ctx.attempt

    async with AsyncClient(database) as client:
        handle = await client.begin(panicking)
        assert await process_all(Worker(database, [panicking])) == 3
        assert await handle.result(timeout=0) == 3
        assert (await handle.info()).attempts == 2


async def test_an_input_that_cannot_be_read_sets_its_run_aside_and_is_no_failed_attempt(database: str) -> None:
    calls: Counter[str] = Counter()

    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def counting(ctx: Context, number: int) -> int:
        calls["body"] += 1
        return number

    async with AsyncClient(database) as client:
        handle = await client.begin(counting, 1)
        await rows(database, "UPDATE durable.runs SET input = '\"text\"'")
        assert await process_all(Worker(database, [counting])) == 1
        status = await handle.info()
    assert status.error is not None
    assert (status.status, status.status_reason, status.attempts) == ("sleeping", "set_aside", 0)
    assert "does not fit" in status.error.message
    assert not calls


async def test_parks_are_no_attempts(database: str) -> None:
    attempts: list[int] = []

    @workflow(retry=RunRetryPolicy(max_attempts=1))
    async def parking(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        for index in range(3):
            await ctx.sleep(f"nap {index}", 0)
        return await ctx.wait_for_event("wait", "news", str)

    worker = Worker(database, [parking])
    async with AsyncClient(database) as client:
        handle = await client.begin(parking)
        for _ in range(4):
            await process_until_there_is_one(worker)
        await handle.publish_event("news", "heard")
        await process_all(worker)
        assert await handle.result(timeout=0) == "heard"
        assert (await handle.info()).attempts == 0
    assert set(attempts) == {1}
    assert len(attempts) >= 5


async def test_the_backoff_of_a_run_counts_from_its_failure_by_the_clock_of_the_database(database: str) -> None:
    @workflow(retry=RunRetryPolicy(max_attempts=9, backoff=exponential(600, 3600)))
    async def failing(ctx: Context) -> None:
        raise ConnectionError(f"attempt {ctx.attempt}")

    worker = Worker(database, [failing])
    told: list[Any] = []
    async with AsyncClient(database) as client:
        handle = await client.begin(failing)
        for _ in range(4):
            assert await process_all(worker) == 1
            told += await rows(
                database,
                "SELECT status, attempts, error ->> 'message', extract(epoch FROM next_wake_at - updated_at)::int"
                " FROM durable.runs",
            )
            await rows(database, "UPDATE durable.runs SET next_wake_at = now()")
        assert (await handle.info()).status == "sleeping"
    assert told == [
        ("sleeping", number, f"attempt {number}", seconds)
        for number, seconds in ((1, 600), (2, 1200), (3, 2400), (4, 3600))
    ]


def test_a_backoff_from_nothing_is_nothing() -> None:
    assert {exponential(0, 60).delay(failures) for failures in (1, 2, 50, 10_000)} == {0.0}


async def test_a_run_is_tried_anew_on_time_and_not_at_the_next_poll(database: str) -> None:
    calls: Counter[str] = Counter()

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0.3))
    async def stubborn(ctx: Context) -> int:
        calls["body"] += 1
        if calls["body"] == 1:
            raise ConnectionError("not yet")
        return calls["body"]

    async with AsyncClient(database) as client, Worker(database, [stubborn], poll_interval=30):
        began = time.monotonic()
        assert await (await client.begin(stubborn)).result(timeout=15) == 2
        assert time.monotonic() - began < 15
