"""What raises, or cannot be stored, and whom it does not harm."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest

from durable import AsyncClient, Call, Context, RetryPolicy, RunFailed, Worker, exponential, workflow
from tests.watching import reached, rows
from tests.worker.flows import greeting, running

AT_ONCE = RetryPolicy(max_retries=3, backoff=exponential(0.001, 0.001))


class Panic(BaseException):
    """Not an ``Exception``: what catches only those lets it through."""


PANICS = [RuntimeError("panic"), ZeroDivisionError("panic"), SystemExit("panic"), Panic("panic"), MemoryError("panic")]


@pytest.mark.parametrize("place", ["in the loop", "in a thread"])
@pytest.mark.parametrize("error", PANICS, ids=lambda error: type(error).__name__)
async def test_29_whatever_a_step_raises_is_retried_and_then_fails_the_run(
    database: str, error: BaseException, place: str
) -> None:
    calls: Counter[str] = Counter()

    async def panic() -> None:
        panic_in_a_thread()

    def panic_in_a_thread() -> None:
        calls["panic"] += 1
        raise error

    @workflow
    async def panicking(ctx: Context) -> None:
        step = panic_in_a_thread if place == "in a thread" else panic
        await ctx.execute(Call("panic", retry=RetryPolicy(max_retries=2, backoff=0)), step)

    async with AsyncClient(database) as client:
        handle = await client.begin(panicking)
        assert await Worker(database, [panicking]).process_one()
        status = await handle.info()
    assert status.error is not None
    assert (status.status, status.attempts, calls["panic"]) == ("failed", 1, 3)
    assert status.error.message == f"step 'panic' failed: {type(error).__name__}: panic"
    assert await rows(database, "SELECT attempts, error ->> 'type' FROM durable.steps") == [(3, type(error).__name__)]


@pytest.mark.parametrize("error", PANICS, ids=lambda error: type(error).__name__)
async def test_30_whatever_a_workflow_raises_fails_the_run_and_not_the_worker(
    database: str, error: BaseException
) -> None:
    simple = greeting(Counter())

    @workflow
    async def panicking(ctx: Context) -> None:
        raise error

    async with AsyncClient(database) as client:
        async with Worker(database, [panicking, simple]) as worker:
            handle = await client.begin(panicking)
            await reached(client, handle.run_key, "failed")
            assert await (await client.begin(simple, "World")).result(timeout=10) == "Hello, World!"
            assert worker.healthy()
        status = await handle.info()
    assert status.error is not None
    assert (status.error.type, status.error.message) == (type(error).__name__, "panic")
    assert "raise error" in (status.error.traceback or "")


async def test_30_sys_exit_in_a_workflow_is_an_error_of_its_run(database: str) -> None:
    @workflow
    async def leaving(ctx: Context) -> None:
        sys.exit(3)

    async with AsyncClient(database) as client:
        handle = await client.begin(leaving)
        assert await Worker(database, [leaving]).process_one()
        assert (await handle.info()).status == "failed"


class Odd(BaseException):
    """No Exception."""


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration, GeneratorExit, SystemExit, Odd, RecursionError])
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
async def test_whatever_a_step_raises_the_run_ends_and_the_worker_lives(
    database: str,
    error: type[BaseException],
    is_async: bool,  # noqa: FBT001
) -> None:
    async def broken() -> None:
        raise error

    def broken_in_a_thread() -> None:
        raise error

    @workflow
    async def failing(ctx: Context) -> None:
        await ctx.execute(Call("broken", retry=AT_ONCE), broken if is_async else broken_in_a_thread)

    async with running(database, failing) as client:
        with pytest.raises(RunFailed, match=error.__name__):
            await (await client.begin(failing)).result(timeout=10)


async def test_a_context_used_inside_a_step_is_not_tried_again(database: str) -> None:
    calls: Counter[str] = Counter()

    @workflow
    async def nesting(ctx: Context) -> None:
        async def nested() -> None:
            calls["nested"] += 1
            await ctx.sleep("inside", 1)

        await ctx.execute(Call("outside", retry=AT_ONCE), nested)

    async with running(database, nesting) as client:
        with pytest.raises(RunFailed, match="inside a step"):
            await (await client.begin(nesting)).result(timeout=10)
    assert calls["nested"] == 1


async def test_an_output_that_cannot_be_stored_fails_the_step_without_a_retry(database: str) -> None:
    calls: Counter[str] = Counter()

    async def unstorable() -> Any:
        calls["unstorable"] += 1
        return {"items": [1, {"price": float("nan")}]}

    @workflow
    async def failing(ctx: Context) -> None:
        await ctx.execute(Call("unstorable", retry=AT_ONCE), unstorable)

    async with running(database, failing) as client:
        with pytest.raises(RunFailed) as failed:
            await (await client.begin(failing)).result(timeout=10)
    assert calls["unstorable"] == 1
    assert "$.items[1].price" in str(failed.value)


async def test_an_error_with_an_unstorable_message_is_stored_all_the_same(database: str) -> None:
    @workflow
    async def failing(ctx: Context) -> None:
        raise ValueError("NUL \0 and a lone \ud800 surrogate")

    async with running(database, failing) as client:
        with pytest.raises(RunFailed, match="NUL"):
            await (await client.begin(failing)).result(timeout=10)


async def test_the_traceback_of_a_failed_step_is_kept(database: str) -> None:
    def where_it_breaks() -> None:
        raise RuntimeError("panic")

    @workflow
    async def panicking(ctx: Context) -> None:
        await ctx.execute(Call("panic", retry=RetryPolicy(max_retries=1, backoff=0)), where_it_breaks)

    async with AsyncClient(database) as client, Worker(database, [panicking]):
        await reached(client, (await client.begin(panicking)).run_key, "failed")
    assert await rows(database, "SELECT error ->> 'traceback' LIKE '%%where_it_breaks%%' FROM durable.steps") == [
        (True,)
    ]
