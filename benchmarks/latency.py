"""How long one run takes on an idle machine: from `begin` to its result, and from `publish_event` to its result.

One run at a time, a 1-step workflow and one that waits for an event; client and worker are in one process.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.fixtures import SCHEMA, fresh_schema, steps, waiting
from durable import AsyncClient, Worker

_RUNS = 300


async def measure(dsn: str, runs: int | None, rounds: int) -> dict[str, Any]:
    """Milliseconds: p50, p95 and p99 of all rounds together."""
    begun: list[float] = []
    published: list[float] = []
    with fresh_schema(dsn):
        async with AsyncClient(dsn, schema=SCHEMA) as client, Worker(dsn, [steps, waiting], schema=SCHEMA):
            for _ in range((runs or _RUNS) * rounds):
                started = time.perf_counter()
                await (await client.begin(steps, 1)).result(timeout=30)
                begun.append(time.perf_counter() - started)
            for _ in range((runs or _RUNS) * rounds):
                handle = await client.begin(waiting)
                while (await handle.status()).status != "waiting_event":
                    pass
                started = time.perf_counter()
                await handle.publish("go", "now")
                await handle.result(timeout=30)
                published.append(time.perf_counter() - started)
    return {
        "begin to result": _shown("begin to result", begun),
        "publish to result": _shown("publish to result", published),
    }


def _shown(name: str, seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    figures = {f"p{part}": ordered[min(len(ordered) - 1, len(ordered) * part // 100)] * 1000 for part in (50, 95, 99)}
    print(f"{name:>18}: " + "  ".join(f"{part} {value:.1f} ms" for part, value in figures.items()))
    return figures
