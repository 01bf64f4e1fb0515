"""What the ancestor's tests lack: stopping a worker that is busy, stubborn, claiming, or stopped already."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from durable import AsyncClient, Context, Worker, workflow
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
        assert (await handle.status()).status == "queued"
        async with Worker(database, [hanging]):
            assert await handle.result(timeout=10) == "call 2"
        stubborn.may_end.set()
        stubborn.thread_may_end.set()
        assert (await handle.status()).takeovers == 0
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
