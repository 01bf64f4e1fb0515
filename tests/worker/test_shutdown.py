"""Stopping a worker that is busy, stubborn, claiming, or stopped already."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Call, Context, RetryPolicy, Worker, workflow
from tests.proxy import Proxy
from tests.watching import rows, until
from tests.worker.flows import greeting


class Stubborn:
    """A step that hangs in its first call, and will not be cancelled until it is told to give in."""

    def __init__(self) -> None:
        self.calls = 0
        self.started = asyncio.Event()
        self.may_end = asyncio.Event()
        self.thread_may_end = threading.Event()
        self._loop = asyncio.get_running_loop()

    async def deaf(self) -> str:
        self.calls += 1
        self.started.set()
        while self.calls == 1 and not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                pass
        return f"call {self.calls}"

    def in_a_thread(self) -> str:
        self.calls += 1
        self._loop.call_soon_threadsafe(self.started.set)
        if self.calls == 1:
            self.thread_may_end.wait(30)
        return f"call {self.calls}"


@pytest.mark.parametrize("kind", ["deaf", "in_a_thread"])
async def test_a_step_that_ignores_its_cancellation_does_not_hold_the_worker(database: str, kind: str) -> None:
    stubborn = Stubborn()
    step: Callable[[], Any] = getattr(stubborn, kind)

    @workflow
    async def hanging(ctx: Context) -> str:
        return str(await ctx.execute("step", step))

    async with AsyncClient(database) as client:
        worker = Worker(database, [hanging], graceful_shutdown_timeout=0.1)
        task = asyncio.create_task(worker.run())
        handle = await client.begin(hanging)
        await stubborn.started.wait()
        began = time.monotonic()
        worker.stop()
        async with asyncio.timeout(20):
            await task
        assert time.monotonic() - began < 10
        assert (await handle.info()).status == "queued"
        async with Worker(database, [hanging]):
            assert await handle.result(timeout=10) == "call 2"
        stubborn.may_end.set()
        stubborn.thread_may_end.set()
        assert (await handle.info()).takeovers == 0
        assert await rows(database, "SELECT output #>> '{}' FROM durable.steps") == [("call 2",)]


async def test_stopping_while_claiming_loses_no_run(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(calls)
    async with AsyncClient(database) as client:
        keys = await client.begin_many(simple, [f"number {index}" for index in range(300)])
        for delay in (0, 0, 0.001, 0.002, 0.004, 0.008, 0.016):
            worker = Worker(database, [simple], poll_interval=0.01)
            async with worker:
                await asyncio.sleep(delay)
        assert await rows(database, "SELECT count(*) FROM durable.runs WHERE status = 'running'") == [(0,)]
        assert await rows(database, "SELECT count(*) FROM durable.workers") == [(0,)]
        async with Worker(database, [simple]):
            for index, key in enumerate(keys):
                assert await client.handle(key, simple).result(timeout=20) == f"Hello, number {index}!"
    assert calls == {"greet": 300}
    assert await rows(database, "SELECT max(strikes) FROM durable.runs") == [(0,)]


async def test_a_worker_may_be_stopped_twice_and_before_it_runs(database: str) -> None:
    simple = greeting(Counter())
    worker = Worker(database, [simple])
    task = asyncio.create_task(worker.run())
    await until(worker.ready)
    worker.stop()
    worker.stop()
    async with asyncio.timeout(10):
        await task
    worker.stop()
    assert worker.status().state == "stopped"

    early = Worker(database, [simple])
    early.stop()
    async with asyncio.timeout(10):
        await early.run()
    assert early.status().state == "stopped"
    assert await rows(database, "SELECT * FROM durable.workers") == []


async def test_a_worker_stopped_before_its_first_heartbeat_leaves_no_name_behind(database: str) -> None:
    async with Proxy(database) as proxy:
        proxy.delay(0.05)
        worker = Worker(proxy.conninfo, [greeting(Counter())])
        task = asyncio.create_task(worker.run())
        await until(lambda: rows(database, "SELECT 1 FROM durable.workers"))
        worker.stop()  # the answer to its registration is still on the way
        async with asyncio.timeout(10):
            await task
    assert await rows(database, "SELECT 1 FROM durable.workers") == []


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_46_a_stopping_worker_completes_the_run_whose_step_is_in_flight(database: str, how: str) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        started.set()
        await finish.wait()
        return "finished"

    @workflow
    async def stopping(ctx: Context) -> str:
        return await ctx.execute("slow", slow)

    worker = Worker(database, [stopping], graceful_shutdown_timeout=10)
    task = asyncio.create_task(worker.run())
    async with AsyncClient(database) as client:
        handle = await client.begin(stopping)
        await started.wait()
        worker.stop() if how == "stop" else task.cancel()
        await until(lambda: not worker.ready())
        finish.set()
        async with asyncio.timeout(8):
            await asyncio.wait({task})
        assert await handle.result(timeout=0) == "finished"
        assert (await handle.info()).takeovers == 0


async def test_46_a_stopping_worker_starts_no_further_step(database: str) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    calls: list[str] = []

    async def step(name: str) -> str:
        calls.append(name)
        started.set()
        await finish.wait()
        return name

    @workflow
    async def two(ctx: Context) -> list[str]:
        return [await ctx.execute(name, step, name) for name in ("first", "second")]

    async with AsyncClient(database) as client:
        async with Worker(database, [two]) as worker:
            handle = await client.begin(two)
            await started.wait()
            worker.stop()
            await until(lambda: worker._executions is not None and worker._executions._is_draining)
            finish.set()
        assert calls == ["first"]
        assert (await handle.info()).status == "queued"
        assert await Worker(database, [two]).process_one()
        assert await handle.result(timeout=0) == ["first", "second"]
    assert calls == ["first", "second"]


async def test_a_worker_returns_when_it_is_stopped_and_raises_when_it_is_cancelled(database: str) -> None:
    simple = greeting(Counter())
    stopped, cancelled = Worker(database, [simple]), Worker(database, [simple])
    async with asyncio.timeout(20):
        task, other = asyncio.create_task(stopped.run()), asyncio.create_task(cancelled.run())
        await until(lambda: stopped.ready() and cancelled.ready())
        assert not task.done()
        stopped.stop()
        other.cancel()
        await task
        with pytest.raises(asyncio.CancelledError):
            await other
    assert (stopped.status().state, cancelled.status().state) == ("stopped", "stopped")


async def test_a_worker_without_patience_hands_back_what_it_executes_and_fails_nothing(database: str) -> None:
    calls: Counter[str] = Counter()
    started = asyncio.Event()

    async def first() -> str:
        calls["first"] += 1
        return "first"

    async def hang() -> str:
        calls["hang"] += 1
        started.set()
        if calls["hang"] == 1:
            await asyncio.sleep(600)
        return "second"

    @workflow
    async def two(ctx: Context) -> list[str]:
        return [await ctx.execute("first", first), await ctx.execute("hang", hang)]

    async with AsyncClient(database) as client:
        async with asyncio.timeout(15):
            async with Worker(database, [two], graceful_shutdown_timeout=0):
                handle = await client.begin(two)
                await started.wait()
        status = await handle.info()
        assert (status.status, status.attempts, status.takeovers, status.error) == ("queued", 0, 0, None)
        assert await Worker(database, [two]).process_one()
        assert await handle.result(timeout=0) == ["first", "second"]
    assert calls == {"first": 1, "hang": 2}


async def test_a_stopping_worker_does_not_wait_for_the_next_try_of_a_step(database: str) -> None:
    tried = asyncio.Event()
    let_go = asyncio.Event()

    async def flaky() -> None:
        tried.set()
        raise ValueError("not now")

    async def slow() -> str:
        await let_go.wait()
        return "finished"

    @workflow
    async def trying(ctx: Context) -> None:
        patient = RetryPolicy(max_retries=5, backoff=3600)
        await asyncio.gather(ctx.execute(Call("flaky", retry=patient), flaky), ctx.execute("slow", slow))

    async with AsyncClient(database) as client:
        async with Worker(database, [trying], graceful_shutdown_timeout=3600) as worker:
            handle = await client.begin(trying)
            await asyncio.wait_for(tried.wait(), 10)
            worker.stop()
            let_go.set()
        assert (await handle.info()).status == "sleeping"
        async with await psycopg.AsyncConnection.connect(database) as connection:
            cursor = await connection.execute("SELECT step_key, output::text FROM durable.steps")
            assert await cursor.fetchall() == [("slow", '"finished"')]
            cursor = await connection.execute("SELECT wait_key, payload ->> 'failures' FROM durable.waits")
            assert await cursor.fetchall() == [("flaky", "1")]
