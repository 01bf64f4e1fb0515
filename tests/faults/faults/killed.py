"""Workers killed at random, and at named points."""

from __future__ import annotations

import asyncio

import msgspec

from tests.faults.failpoints import DIE_AT, Failpoint
from tests.faults.fleet import Member
from tests.faults.stage import Stage, fault

_WORKERS = 6


@fault(
    row=1,
    how="SIGKILL at random moments",
    target="0 lost, 0 duplicate transactional effects; recovery p99 ≤ 2 s",
    sizes={"smoke": 15, "campaign": 700, "soak": 10_000},
    workers=_WORKERS,
    recovery=2.0,
)
async def killed(stage: Stage) -> None:
    while stage.count < stage.size:
        # Now and then within the takeover of those before; most survivors are old enough to have looked twice.
        await asyncio.sleep(stage.random.uniform(0.3, 2.5))
        victims = stage.random.sample(stage.fleet.alive, stage.random.randint(1, 3))
        for victim, moment in [(victim, victim.kill()) for victim in victims]:
            if await victim.ended(5) is not None:
                stage.injected()
                stage.died(victim, moment)
        stage.fleet.keep(_WORKERS)


@fault(
    row=1,
    how="SIGKILL by the worker itself, at the points " + ", ".join(DIE_AT),
    target="0 lost, 0 duplicate transactional effects; recovery p99 ≤ 2 s",
    sizes={"smoke": 14, "campaign": 300, "soak": 3000},
    workers=3,
    recovery=2.0,
)
async def killed_at(stage: Stage) -> None:
    points = [DIE_AT[number % len(DIE_AT)] for number in range(stage.size)]
    stage.random.shuffle(points)
    doomed: list[Member] = []
    while points or doomed:
        while points and len(doomed) < 3:
            point = points.pop()
            hit = stage.random.randint(1, 3) if point == "mid-renew" else stage.random.randint(1, 30)
            options = msgspec.structs.replace(stage.options, failpoint=Failpoint(point, hit))
            doomed.append(stage.fleet.spawn(options))
            doomed[-1].expects.add(-9)
        await asyncio.sleep(0.05)
        stage.fleet.collect()
        doomed = [member for member in doomed if member.exit_code is None]
    for process_id, moment in await stage.observer.rows(
        "SELECT process_id, extract(epoch FROM at)::float8 FROM evidence"
    ):
        stage.injected()
        stage.deaths.append((process_id, moment))
