"""The server crashes and comes back."""

from __future__ import annotations

import asyncio
import time

from tests.faults.stage import Stage, fault


@fault(
    row=6,
    how="immediate restart of Postgres (SIGQUIT), fsync on",
    target="0 lost; p99 < 2 s from accepting connections until every worker has sent a heartbeat and a run was claimed",
    sizes={"smoke": 4, "campaign": 100, "soak": 500},
    workers=4,
    recovery=2.0,
)
async def restarted(stage: Stage) -> None:
    for _ in range(stage.size):
        await asyncio.sleep(stage.random.uniform(0.2, 1.5))
        before = stage.server.process_id
        accepted = await stage.server.restart_immediate()
        if stage.server.process_id != before:
            stage.injected()
        members = {member.process_id for member in stage.fleet.alive}

        async def is_recovered(accepted: float = accepted, members: set[int] = members) -> bool:
            rows = await stage.observer.rows(
                "SELECT array_agg(process_id), (SELECT max(pg_xact_commit_timestamp(xid)) > to_timestamp(%s)"
                " FROM (SELECT xid FROM transitions WHERE new_status = 'running' ORDER BY id DESC LIMIT 1) AS last)"
                " FROM durable.workers WHERE heartbeat_at > to_timestamp(%s)",
                (accepted, accepted),
            )
            return bool(rows[0][1]) and members <= set(rows[0][0] or ())

        if await stage.until(is_recovered, 20, "every worker is back after a restart"):
            stage.recovered(time.time() - accepted)
