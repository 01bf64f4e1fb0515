"""Everything through PgBouncer in transaction mode: no session state, no notification, no lock."""

from __future__ import annotations

import asyncio

import msgspec

from tests.faults.fleet import Member
from tests.faults.stage import Stage, fault
from tests.pooler import find_pgbouncer, pooler

_LEASE = 3.0
_WORKERS = 5


def _lacks_pooler() -> str | None:
    return "there is no pgbouncer" if find_pgbouncer() is None else None


@fault(
    row=15,
    how="workers and application connect through PgBouncer in transaction mode; workers are killed",
    target="0 lost, 0 duplicate transactional effects; the runs of a killed worker move within the lease of"
    f" {_LEASE:g} s + 2 s",
    sizes={"smoke": 3, "campaign": 60, "soak": 1000},
    workers=1,
    options={"lease": _LEASE},
    recovery=_LEASE + 2.0,
    lacks=_lacks_pooler,
)
async def pooled(stage: Stage) -> None:
    conninfo = stage.exits.enter_context(pooler(stage.options.direct))
    stage.fleet.options = msgspec.structs.replace(stage.options, conninfo=conninfo)
    (first,) = stage.fleet.alive
    stage.fleet.keep(1 + _WORKERS)
    await stage.load.lead(conninfo, prepare_threshold=None)
    first.terminate()
    await first.ended(stage.options.graceful_shutdown_timeout + 5.0)
    stage.fleet.collect()
    await stage.settle()
    while stage.count < stage.size:
        await asyncio.sleep(stage.random.uniform(0.5, 2.0))
        victim = stage.random.choice(stage.fleet.alive)
        is_pooled = await _is_without_lock(stage, victim)
        moment = victim.kill()
        if await victim.ended(5) is not None and is_pooled:
            stage.injected()
            stage.died(victim, moment)
        stage.fleet.keep(_WORKERS)


async def _is_without_lock(stage: Stage, member: Member) -> bool:
    """Whether it has registered as one that can hold no lock, since there is a pooler between."""
    rows = await stage.observer.rows("SELECT lock_key FROM durable.workers WHERE process_id = %s", (member.process_id,))
    return rows == [(None,)]
