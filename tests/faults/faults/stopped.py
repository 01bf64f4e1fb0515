"""Workers told to stop, at any moment of their lives."""

from __future__ import annotations

import asyncio
import time

from tests.faults.fleet import Member
from tests.faults.stage import Stage, fault

_GRACE = 2.0
_WORKERS = 5
_AT_ONCE = 2
_LONGEST_SECONDS = 20.0


@fault(
    row=4,
    how="SIGTERM at a random moment, also during start-up",
    target="ends within its grace period + 1 s, 0 runs left owned",
    sizes={"smoke": 15, "campaign": 300, "soak": 3000},
    workers=_WORKERS,
    options={"graceful_shutdown_timeout": _GRACE},
    recovery=_GRACE + 1.0,
)
async def stopped(stage: Stage) -> None:
    async def stop(member: Member) -> None:
        if stage.random.random() < 0.5:
            await asyncio.sleep(stage.random.uniform(0.0, 0.5))  # while it starts, that is
        began = time.monotonic()
        member.terminate()
        if await member.ended(_GRACE + _LONGEST_SECONDS) is None:
            stage.violated("I11", f"worker {member.process_id} did not end after SIGTERM")
        stage.recovered(time.monotonic() - began)
        stage.injected()
        for run_id, status in await stage.observer.rows(
            "SELECT run_id, status FROM durable.runs WHERE worker_id IN"
            " (SELECT worker_id FROM identities WHERE process_id = %s)",
            (member.process_id,),
        ):
            stage.violated("I11", f"run {run_id}, {status}, was left owned by worker {member.process_id}")

    places = asyncio.Semaphore(_AT_ONCE)
    async with asyncio.TaskGroup() as stopping:
        for _ in range(stage.size):
            await places.acquire()
            fresh = stage.fleet.spawn()
            others = [member for member in stage.fleet.alive if member is not fresh and not member.expects]
            victim = stage.random.choice((fresh, stage.random.choice(others)))
            stopping.create_task(stop(victim)).add_done_callback(lambda _: places.release())
            await asyncio.sleep(stage.random.uniform(0.0, 0.2))
            stage.fleet.collect()
    stage.fleet.keep(_WORKERS)
