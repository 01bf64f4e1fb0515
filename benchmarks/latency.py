"""How long one run takes: from `begin` to its result; from `publish_event` to the moment when the run that waits for
the event continues, and to its result; and how late a sleep wakes. Each is measured when the worker is idle, and at
half the load that it could bear.

There is one run at a time. Client and worker are in separate processes, on one machine with one clock. The load
consists of 1-step runs, begun at half the rate that the same worker completed just before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import TypeVar

import msgspec

from benchmarks.processes import worker_processes
from benchmarks.setting import SCHEMA, Figure, Setting, fresh_schema, quantiles
from benchmarks.workflows import listening, napping, resuming, steps
from durable import AsyncClient, AsyncHandle, Workflow

T = TypeVar("T")

_TIMEOUT = 30.0
_TICK_SECONDS = 0.05
_CALIBRATING = 5_000


class Probe(msgspec.Struct, frozen=True):
    name: str
    count: int
    once: Callable[[AsyncClient], Awaitable[float]]
    targets: dict[int, float]


async def measure(setting: Setting) -> list[Figure]:
    figures: list[Figure] = []
    probes = [
        Probe("begin to result", 300, _begin, {50: 5.0, 99: 25.0}),
        Probe("publish to resumed", 300, _resume, {50: 5.0}),
        Probe("publish to result", 300, _publish, {}),
        Probe("a sleep of 50 ms wakes late by", 100, _nap, {}),
    ]
    with fresh_schema(setting.dsn), worker_processes(setting.dsn, 1, "WORKFLOWS"):
        async with AsyncClient(setting.dsn, schema=SCHEMA) as client:
            for probe in probes:
                await probe.once(client)
            figures += [figure for probe in probes for figure in await _measured(setting, client, probe, "idle")]
            rate = await _calibrated(setting, client) / 2
            async with _loaded(client, rate) if not setting.is_once else nullcontext():
                for probe in probes:
                    figures += await _measured(setting, client, probe, "at half load")
    return figures


async def _measured(setting: Setting, client: AsyncClient, probe: Probe, when: str) -> list[Figure]:
    count = setting.size(probe.count, 5) * setting.rounds
    targets = probe.targets if when == "idle" else {}
    return quantiles(f"{probe.name}, {when}", [await probe.once(client) for _ in range(count)], targets)


async def _begin(client: AsyncClient) -> float:
    started = time.perf_counter()
    await (await client.begin(steps, 1)).result(timeout=_TIMEOUT)
    return time.perf_counter() - started


async def _resume(client: AsyncClient) -> float:
    handle = await _waiting(client, resuming)
    published = time.time()
    await handle.publish_event("go", "now")
    return await handle.result(timeout=_TIMEOUT) - published


async def _publish(client: AsyncClient) -> float:
    handle = await _waiting(client, listening)
    started = time.perf_counter()
    await handle.publish_event("go", "now")
    await handle.result(timeout=_TIMEOUT)
    return time.perf_counter() - started


async def _waiting(client: AsyncClient, workflow: Workflow[None, T]) -> AsyncHandle[T]:
    handle = await client.begin(workflow)
    while (await handle.info()).status != "waiting_event":
        await asyncio.sleep(0.001)
    return handle


async def _nap(client: AsyncClient) -> float:
    late: float = await (await client.begin(napping, 0.05)).result(timeout=_TIMEOUT)
    return late


async def _calibrated(setting: Setting, client: AsyncClient) -> float:
    runs = setting.size(_CALIBRATING, 50)
    started = time.perf_counter()
    keys = await client.begin_many(steps, [1] * runs)
    while (await client.get_run_info(keys[-1])).status != "completed":
        await asyncio.sleep(_TICK_SECONDS)
    return runs / (time.perf_counter() - started)


@asynccontextmanager
async def _loaded(client: AsyncClient, rate: float) -> AsyncIterator[None]:
    async def load() -> None:
        begun, started = 0, time.perf_counter()
        while True:
            wanted = int((time.perf_counter() - started) * rate)
            if wanted > begun:
                await client.begin_many(steps, [1] * (wanted - begun))
                begun = wanted
            await asyncio.sleep(_TICK_SECONDS)

    loading = asyncio.create_task(load())
    try:
        yield
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
