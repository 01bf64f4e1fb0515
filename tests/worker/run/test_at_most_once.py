"""Steps that are called once at most: it is recorded that the call begins before it does."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Call,
    Client,
    Context,
    InvalidArgument,
    RetryPolicy,
    RunFailed,
    RunRetryPolicy,
    StepFailed,
    StepInterrupted,
    Worker,
    workflow,
)
from durable.core.errors import INTERRUPTED
from durable.core.replay.commands import Complete, Execute
from durable.core.replay.history import Failure, History, Memo
from tests.laws.programs import machine_of
from tests.watching import reached, rows, until
from tests.worker.processes import WorkerProcess, entries, only_once, prepare
from tests.worker.processes import until as until_sync

MARKS = "SELECT wait_key, wait_type FROM durable.waits WHERE satisfied_at IS NULL"
ONCE = Call("charge", at_most_once=True)


async def test_it_is_recorded_before_the_call_and_gone_after_it(database: str) -> None:
    seen: list[Any] = []

    async def charge() -> str:
        seen.append(await rows(database, MARKS))
        return "charged"

    @workflow
    async def charging(ctx: Context) -> str:
        return await ctx.execute(ONCE, charge)

    async with AsyncClient(database) as client, Worker(database, [charging]):
        assert await (await client.begin(charging)).result(timeout=20) == "charged"
    assert seen == [[("charge", "start")]]
    assert await rows(database, MARKS) == []
    assert await rows(database, "SELECT status, attempts FROM durable.steps") == [("completed", 1)]


async def test_an_error_is_not_tried_again(database: str) -> None:
    calls = 0

    async def charge() -> None:
        nonlocal calls
        calls += 1
        raise ConnectionError("the line was cut")

    @workflow
    async def charging(ctx: Context) -> str:
        with pytest.raises(StepFailed) as failed:
            await ctx.execute(ONCE, charge)
        assert not isinstance(failed.value, StepInterrupted)
        return str(failed.value)

    async with AsyncClient(database) as client, Worker(database, [charging]):
        said = await (await client.begin(charging)).result(timeout=20)
    assert said == "step 'charge' failed: ConnectionError: the line was cut"
    assert calls == 1


def test_a_call_that_a_crash_has_interrupted_is_not_made_again(database: str) -> None:
    prepare(database)
    with Client(database) as client, WorkerProcess(database, hangs=True) as victim:
        handle = client.begin(only_once)
        until_sync(lambda: entries(database) == ["hang"])
        victim.signal(signal.SIGKILL)
        with WorkerProcess(database):
            assert handle.result(timeout=20) == "clean up hang"
    assert entries(database) == ["hang", "clean up hang"]
    with psycopg.connect(database) as connection:
        query = "SELECT step_key, error ->> 'type' FROM durable.steps ORDER BY seq"
        assert connection.execute(query).fetchall() == [("hang", "StepInterrupted"), ("clean up", None)]
        assert connection.execute(MARKS).fetchall() == []


async def test_a_call_that_a_stopping_worker_has_interrupted_is_not_made_again(database: str) -> None:
    entered = asyncio.Event()
    calls = 0

    async def charge() -> None:
        nonlocal calls
        calls += 1
        entered.set()
        await asyncio.sleep(600)

    @workflow
    async def charging(ctx: Context) -> str:
        try:
            await ctx.execute(ONCE, charge)
        except StepInterrupted as error:
            return str(error)
        return "it went through"

    async with AsyncClient(database) as client:
        async with Worker(database, [charging], graceful_shutdown_timeout=0):
            handle = await client.begin(charging)
            await entered.wait()
        async with Worker(database, [charging]):
            said = await handle.result(timeout=20)
    assert said.startswith("step 'charge' was interrupted: it may be called at most once, and its worker ended")
    assert calls == 1


async def test_another_attempt_of_the_run_may_make_the_call_again(database: str) -> None:
    calls = 0

    async def charge() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError
        return "charged"

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
    async def charging(ctx: Context) -> str:
        return await ctx.execute(ONCE, charge)

    async with AsyncClient(database) as client, Worker(database, [charging]):
        assert await (await client.begin(charging)).result(timeout=20) == "charged"
    assert calls == 2


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_a_call_that_nothing_waits_for_any_longer_leaves_no_mark(database: str, how: str) -> None:
    entered = asyncio.Event()

    async def charge() -> None:
        entered.set()
        await asyncio.sleep(600)

    @workflow
    async def charging(ctx: Context) -> None:
        await ctx.execute(ONCE, charge)

    async with AsyncClient(database) as client, Worker(database, [charging]):
        handle = await client.begin(charging)
        await entered.wait()
        await (handle.cancel() if how == "cancel" else handle.terminate())
        await reached(client, handle.run_key, "cancelled")
    assert await rows(database, MARKS) == []


async def test_a_step_in_a_thread_is_called_once_at_most_as_well(database: str) -> None:
    seen: list[Any] = []

    def charge() -> str:
        with psycopg.connect(database) as connection:
            seen.extend(connection.execute(MARKS).fetchall())
        return "charged"

    @workflow
    async def charging(ctx: Context) -> str:
        return await ctx.execute(ONCE, charge)

    async with AsyncClient(database) as client, Worker(database, [charging]):
        assert await (await client.begin(charging)).result(timeout=20) == "charged"
    assert seen == [("charge", "start")]


def test_the_recorded_interruption_is_raised_again_on_each_replay() -> None:
    async def charge() -> None: ...

    async def main(ctx: Context) -> Any:
        try:
            await ctx.execute(ONCE, charge)
        except StepInterrupted as error:
            return error.step_key
        return None

    (asked,) = machine_of(main, History()).start()
    assert isinstance(asked, Execute)
    assert asked.is_at_most_once
    memo = Memo("charge", "execute", asked.name, 1, False, Failure(INTERRUPTED))
    (ending,) = machine_of(main, History((memo,))).start()
    assert isinstance(ending, Complete)
    assert ending.output == '"charge"'


async def test_what_contradicts_it_is_refused(database: str) -> None:
    with pytest.raises(InvalidArgument, match="retry must be a policy with max_retries=0, because at_most_once is set"):
        Call("charge", retry=RetryPolicy(), at_most_once=True)
    assert Call("charge", retry=RetryPolicy(max_retries=0, timeout=3), at_most_once=True).policy.timeout == 3

    async def book(tx: psycopg.AsyncConnection[Any]) -> None: ...

    @workflow
    async def booking(ctx: Context) -> None:
        await ctx.transaction(Call("book", at_most_once=True), book)

    async with AsyncClient(database) as client, Worker(database, [booking]):
        with pytest.raises(RunFailed, match="False for a transaction, which happens exactly once anyway"):
            await (await client.begin(booking)).result(timeout=20)


async def test_steps_of_both_kinds_go_on_side_by_side(database: str) -> None:
    gate = asyncio.Event()
    done: list[int] = []

    async def charge(number: int) -> int:
        if number == 0:
            await gate.wait()
        done.append(number)
        return number

    @workflow
    async def charging(ctx: Context) -> list[int]:
        return list(
            await asyncio.gather(
                *(ctx.execute(Call(f"charge {n}", at_most_once=n % 2 == 0), charge, n) for n in range(20))
            )
        )

    async with AsyncClient(database) as client, Worker(database, [charging]):
        handle = await client.begin(charging)
        await until(lambda: len(done) == 19)
        gate.set()
        assert await handle.result(timeout=20) == list(range(20))
    assert await rows(database, MARKS) == []
