"""Workers that are stopped past their lease, lose their runs, and wake up."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.faults.fleet import Member
from tests.faults.stage import Stage, fault

_LEASE = 1.0
_AT_ONCE = 4


@fault(
    row=2,
    how="SIGSTOP for 1 to 5 leases, then SIGCONT",
    target="0 accepted writes; runs execute elsewhere within the lease + 2 s",
    sizes={"smoke": 8, "campaign": 500, "soak": 5000},
    workers=8,
    options={"lease": _LEASE},
    recovery=_LEASE + 2.0,
    # A transaction that a worker had open when it was stopped stays open; others that need its locks wait for it.
    excuses=frozenset({"I12"}),
)
async def zombie(stage: Stage) -> None:
    frozen: set[Member] = set()

    async def freeze(member: Member) -> None:
        moment = member.send(signal.SIGSTOP)
        await asyncio.sleep(_LEASE * stage.random.uniform(1.0, 5.0))
        is_buried = await _is_buried(stage, member)
        stage.stalled(member.process_id, time.time())
        member.send(signal.SIGCONT)
        if is_buried:
            stage.injected()
            stage.died(member, moment)
        frozen.discard(member)

    async with asyncio.TaskGroup() as freezing:
        while stage.count < stage.size:
            awake = [member for member in stage.fleet.alive if member not in frozen]
            if len(frozen) < _AT_ONCE:
                member = stage.random.choice(awake)
                frozen.add(member)
                freezing.create_task(freeze(member))
            await asyncio.sleep(0.05)


async def _is_buried(stage: Stage, member: Member) -> bool:
    """Whether the others have declared it dead."""
    rows = await stage.observer.rows(
        "SELECT worker_id FROM durable.workers WHERE process_id = %s", (member.process_id,)
    )
    return not rows
