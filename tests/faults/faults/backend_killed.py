"""Connections of workers ended by the server: any of them, and the listening one."""

from __future__ import annotations

import asyncio
import time

from tests.faults.stage import Stage, fault

_WORKERS = 5
_BACKENDS = """
    SELECT pid, application_name, query LIKE 'LISTEN %%' FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'worker-%%'
      AND coalesce(%s = application_name, true)
    ORDER BY pid
"""
_LISTENER_SECONDS = 5.0


@fault(
    row=5,
    how="pg_terminate_backend on random connections of workers",
    target="0 lost, 0 duplicate transactional effects",
    sizes={"smoke": 60, "campaign": 1700, "soak": 20_000},
    workers=_WORKERS,
)
async def backend_killed(stage: Stage) -> None:
    while stage.count < stage.size:
        await asyncio.sleep(stage.random.uniform(0.02, 0.2))
        backends = [row[0] for row in await stage.observer.rows(_BACKENDS, (None,))]
        victims = stage.random.sample(backends, min(len(backends), stage.random.randint(1, 4)))
        stage.injected(await _terminate(stage, victims))


@fault(
    row=5,
    how="pg_terminate_backend on the connection that listens",
    target="listening again within 5 s",
    sizes={"smoke": 5, "campaign": 300, "soak": 3000},
    workers=_WORKERS,
    recovery=_LISTENER_SECONDS,
)
async def listener_killed(stage: Stage) -> None:
    async def listener(name: str) -> int | None:
        return next((row[0] for row in await stage.observer.rows(_BACKENDS, (name,)) if row[2]), None)

    async def kill(name: str) -> None:
        victim = await listener(name)
        if victim is None:
            return
        began = time.monotonic()
        killed = await _terminate(stage, [victim])

        async def is_back() -> bool:
            return await listener(name) not in (None, victim)

        if await stage.until(is_back, 4 * _LISTENER_SECONDS, f"{name} listens again"):
            stage.recovered(time.monotonic() - began)
        stage.injected(killed)

    while stage.count < stage.size:
        names = [f"worker-{member.process_id}" for member in stage.fleet.alive]
        chosen = stage.random.sample(names, min(len(names), stage.size - stage.count, 3))
        await asyncio.gather(*(kill(name) for name in chosen))


async def _terminate(stage: Stage, backends: list[int]) -> int:
    rows = await stage.observer.rows(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM unnest(%s) AS pid", (backends,)
    )
    return int(rows[0][0])
