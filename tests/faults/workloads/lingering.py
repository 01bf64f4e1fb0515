"""A workflow whose transaction keeps its connection busy for so long that the worker asks what has become of it; and
one that somebody suspects while it sleeps."""

from __future__ import annotations

from typing import Any

import msgspec
from psycopg import AsyncConnection

from durable import Call, Context, Workflow, workflow
from tests.faults.effects import STEADFAST, effect, journal
from tests.faults.workload import WORKFLOWS


class Lingering(msgspec.Struct, frozen=True):
    number: int
    seconds: float


async def _linger(tx: AsyncConnection[tuple[object, ...]], run_id: str, seconds: float) -> float:
    await journal.write(run_id, "linger", "start")
    await tx.execute("SELECT pg_sleep(%s)", (seconds,))
    return seconds


@workflow
async def lingering(ctx: Context, order: Lingering) -> float:
    return await ctx.transaction(Call("linger", retry=STEADFAST), _linger, ctx.run_id, order.seconds)


@workflow
async def suspected(ctx: Context, order: Lingering) -> str:
    """Then outlives a trial of fewer seconds."""
    await ctx.sleep("nap", 0.3)
    return await ctx.execute(Call("outlive", retry=STEADFAST), effect, ctx.run_id, "outlive", order.seconds)


LINGERING_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, lingering, suspected]
