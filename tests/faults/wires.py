"""Workers with a network of their own: each behind a proxy in this process."""

from __future__ import annotations

import asyncio

import msgspec
from psycopg import AsyncConnection, OperationalError

from tests.faults.fleet import Member
from tests.faults.stage import Stage
from tests.proxy import Proxy

_PATIENCE_SECONDS = 30.0


class Wired(msgspec.Struct, frozen=True, eq=False):
    """A worker, and what is between it and the server."""

    member: Member
    proxy: Proxy


async def spawn_wired(stage: Stage, count: int) -> list[Wired]:
    """More workers, each behind a proxy that stands until the end."""
    wired: list[Wired] = []
    for _ in range(count):
        proxy = await stage.exits.enter_async_context(Proxy(stage.options.direct))
        member = stage.fleet.spawn(msgspec.structs.replace(stage.options, conninfo=proxy.conninfo))
        wired.append(Wired(member, proxy))
    await stage.settle()
    return wired


async def works_again(stage: Stage, member: Member, since: float) -> bool:
    """Waits until the worker has beaten and written since that moment, in seconds since the epoch."""
    (newest,) = (await stage.observer.rows("SELECT coalesce(max(id), 0) FROM transitions"))[0]

    async def does() -> bool:
        rows = await stage.observer.rows(
            "SELECT EXISTS (SELECT FROM durable.workers WHERE process_id = %s AND heartbeat_at > to_timestamp(%s))"
            " AND EXISTS (SELECT FROM transitions WHERE id > %s AND writer = %s)",
            (member.process_id, since, newest, member.process_id),
        )
        return bool(rows[0][0])

    return await stage.until(does, _PATIENCE_SECONDS, f"worker {member.process_id} works again")


async def answers_within(proxy: Proxy, seconds: float) -> bool:
    """Whether a new connection comes about and is answered in that time."""
    try:
        async with asyncio.timeout(seconds), await AsyncConnection.connect(proxy.conninfo) as connection:
            await connection.execute("SELECT 1")
    except (TimeoutError, OperationalError):
        return False
    return True
