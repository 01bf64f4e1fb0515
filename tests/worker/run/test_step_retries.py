"""Behaviours of the ancestor that its tests leave out: C (context and memos) and S (retries of a step)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from durable import AsyncClient, Context, RetryPolicy, RunCancelled, Worker, exponential, workflow
from tests.watching import reached, rows, until
from tests.worker.flows import greeting, process_all

WORKER = "the worker"
CONNECTIONS = "SELECT state FROM pg_stat_activity WHERE application_name = %s"


async def one() -> int:
    return 1


async def one_in_a_transaction(tx: psycopg.AsyncConnection[Any]) -> int:
    return 1


EMPTY: dict[str, Callable[[Context], Awaitable[Any]]] = {
    "execute": lambda ctx: ctx.execute("", one),
    "transaction": lambda ctx: ctx.transaction("", one_in_a_transaction),
    "sleep": lambda ctx: ctx.sleep("", 0),
    "wait": lambda ctx: ctx.wait_for_event("", "news"),
    "event": lambda ctx: ctx.wait_for_event("wait", ""),
    "uuid": lambda ctx: ctx.random_uuid7(""),
    "uint": lambda ctx: ctx.random_uint64(""),
    "random": lambda ctx: ctx.random(""),
    "now": lambda ctx: ctx.now(""),
}


@pytest.mark.parametrize("call", EMPTY.values(), ids=EMPTY)
async def test_an_empty_key_or_name_fails_the_run_and_nothing_is_done(
    database: str, call: Callable[[Context], Awaitable[Any]]
) -> None:
    @workflow
    async def nameless(ctx: Context) -> None:
        await call(ctx)

    async with AsyncClient(database) as client:
        handle = await client.begin(nameless)
        assert await process_all(Worker(database, [nameless])) == 1
        status = await handle.status()
    assert status.error is not None
    assert (status.status, status.error.type) == ("failed", "InvalidArgument")
    assert "=''" in status.error.message
    assert await rows(database, "SELECT step_key FROM durable.steps UNION SELECT wait_key FROM durable.waits") == []


async def test_a_cancel_is_obeyed_before_the_next_try_of_a_step(database: str) -> None:
    calls: Counter[str] = Counter()

    async def broken() -> None:
        calls["broken"] += 1
        raise ConnectionError("not yet")

    @workflow
    async def patient(ctx: Context) -> None:
        await ctx.execute("broken", broken, retry=RetryPolicy(max_retries=5, backoff=3600))

    async with AsyncClient(database) as client, Worker(database, [patient]):
        handle = await client.begin(patient)
        await until(lambda: calls["broken"])
        await handle.cancel("no more of it")
        with pytest.raises(RunCancelled, match="no more of it"):
            await handle.result(timeout=15)
    assert calls == {"broken": 1}


async def test_arguments_that_cannot_be_stored_are_left_out_and_fail_nothing(database: str) -> None:
    lock = threading.Lock()

    async def is_free(given: threading.Lock) -> bool:
        return given is lock and not given.locked()

    @workflow
    async def locking(ctx: Context) -> bool:
        return await ctx.execute("lock", is_free, lock)

    async with AsyncClient(database) as client:
        handle = await client.begin(locking)
        assert await Worker(database, [locking]).process_one()
        assert await handle.result(timeout=0)
    assert await rows(database, "SELECT input, output FROM durable.steps") == [(None, True)]


async def test_the_context_tells_which_run_it_is_of(database: str) -> None:
    @workflow(name="known by its name", version=3)
    async def told(ctx: Context) -> list[Any]:
        return [str(ctx.run_key), ctx.run_id, ctx.workflow_name, ctx.version, ctx.attempt, ctx.scheduled_at]

    async with AsyncClient(database) as client:
        handle = await client.begin(told)
        assert await Worker(database, [told]).process_one()
        key = handle.run_key
        assert await handle.result(timeout=0) == [str(key), key.run_id, "known by its name", 3, 1, None]


def test_each_primitive_has_one_name() -> None:
    primitives = [member for name, member in vars(Context).items() if not name.startswith("_") and callable(member)]
    assert len(primitives) > 5
    assert len(set(primitives)) == len(primitives)


async def test_a_step_waits_longer_between_its_tries_and_not_after_the_last(database: str) -> None:
    tries: list[float] = []

    async def broken() -> None:
        tries.append(time.monotonic())
        raise ConnectionError("never")

    @workflow
    async def stubborn(ctx: Context) -> None:
        # 0.04, 0.2 and then 1 s, give or take a quarter; a wait of 5 s after the last try would be seen.
        await ctx.execute("broken", broken, retry=RetryPolicy(max_retries=3, backoff=exponential(0.04, 3600, 5)))

    async with AsyncClient(database) as client:
        handle = await client.begin(stubborn)
        assert await Worker(database, [stubborn]).process_one()
        ended = time.monotonic()
        assert (await handle.status()).status == "failed"
    gaps = [after - before for before, after in pairwise(tries)]
    assert [gap >= 0.74 * delay for gap, delay in zip(gaps, (0.04, 0.2, 1.0), strict=True)] == [True] * 3, gaps
    assert ended - tries[-1] < 3.7


async def test_steps_between_their_tries_hold_neither_a_connection_nor_a_transaction(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(Counter())

    async def broken() -> None:
        calls["execute"] += 1
        raise ConnectionError("not yet")

    async def broken_in_a_transaction(tx: psycopg.AsyncConnection[Any]) -> None:
        await tx.execute("SELECT 1")
        calls["transaction"] += 1
        raise ConnectionError("not yet")

    @workflow
    async def patient(ctx: Context, kind: str) -> None:
        policy = RetryPolicy(max_retries=5, backoff=3600)
        if kind == "execute":
            await ctx.execute("broken", broken, retry=policy)
        else:
            await ctx.transaction("broken", broken_in_a_transaction, retry=policy)

    worker = Worker(make_conninfo(database, application_name=WORKER), [patient, simple], graceful_shutdown_timeout=0)
    async with AsyncClient(database) as client, worker:
        await client.begin_many(patient, ["execute", "transaction"] * 40)
        await until(lambda: calls == {"execute": 40, "transaction": 40})
        assert await (await client.begin(simple, "World")).result(timeout=10) == "Hello, World!"
        await until(lambda: worker.status().active_runs == 80)

        async def is_at_rest() -> bool:
            states = [state for (state,) in await rows(database, CONNECTIONS, WORKER)]
            return 0 < len(states) < 40 and not any("transaction" in str(state) for state in states)

        await until(is_at_rest)
    assert await rows(database, "SELECT DISTINCT status FROM durable.runs WHERE workflow_name = 'patient'") == [
        ("queued",)
    ]


async def test_an_async_step_that_ignores_its_timeout_is_waited_for_and_counts(database: str) -> None:
    calls: Counter[str] = Counter()

    async def deaf() -> str:
        calls["deaf"] += 1
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            calls["ignored"] += 1
        return "late"

    @workflow
    async def hanging(ctx: Context) -> str:
        return await ctx.execute("deaf", deaf, retry=RetryPolicy(max_retries=3, backoff=0, timeout=0.05))

    async with AsyncClient(database) as client:
        handle = await client.begin(hanging)
        assert await Worker(database, [hanging]).process_one()
        assert await handle.result(timeout=0) == "late"
    assert calls == {"deaf": 1, "ignored": 1}


async def test_a_sync_step_that_takes_too_long_is_given_up_while_its_thread_goes_on(database: str) -> None:
    calls: Counter[str] = Counter()
    may_end = threading.Event()

    def hang() -> str:
        calls["hang"] += 1
        if calls["hang"] == 1:
            may_end.wait(30)
            calls["went on"] += 1
        return "in time"

    @workflow
    async def hanging(ctx: Context) -> str:
        return await ctx.execute("hang", hang, retry=RetryPolicy(max_retries=1, backoff=0, timeout=0.1))

    try:
        async with AsyncClient(database) as client, Worker(database, [hanging]):
            handle = await client.begin(hanging)
            assert await handle.result(timeout=10) == "in time"
            assert calls == {"hang": 2}
    finally:
        may_end.set()
    await until(lambda: calls["went on"])
    assert await rows(database, "SELECT attempts FROM durable.steps") == [(2,)]


async def test_the_traceback_of_a_failed_step_is_kept(database: str) -> None:
    def where_it_breaks() -> None:
        raise RuntimeError("panic")

    @workflow
    async def panicking(ctx: Context) -> None:
        await ctx.execute("panic", where_it_breaks, retry=RetryPolicy(max_retries=1, backoff=0))

    async with AsyncClient(database) as client, Worker(database, [panicking]):
        await reached(client, (await client.begin(panicking)).run_key, "failed")
    assert await rows(database, "SELECT error ->> 'traceback' LIKE '%%where_it_breaks%%' FROM durable.steps") == [
        (True,)
    ]
