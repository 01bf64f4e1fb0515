"""Workflows whose waits race with events, timeouts, cancels, steps and sleeps."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec

from durable import AsyncClient, Call, Context, EventTimeout, RunKey, RunTerminal, Workflow, workflow
from tests.faults.effects import STEADFAST, effect, journal
from tests.faults.workload import WORKFLOWS

TIMED_OUT = "timed out"


class Round(msgspec.Struct, frozen=True):
    """One wait: what comes before it, what goes on beside it, and its timeout in seconds, ``None``: none."""

    before: Literal["nothing", "step", "sleep", "own event"]
    is_beside_step: bool
    timeout: float | None


class Racing(msgspec.Struct, frozen=True):
    number: int
    rounds: list[Round]


async def tell(run_key: RunKey, key: str) -> str:
    """Publishes from within a step: between two awaits of the run itself."""
    await journal.write(run_key.run_id, key, "start")
    async with AsyncClient(journal.conninfo) as client:
        try:
            await client.publish_event(run_key, "news", key, key=key)
        except RunTerminal:
            key = "too late"
    await journal.write(run_key.run_id, key, "done", key)
    return key


@workflow
async def racing(ctx: Context, order: Racing) -> list[str]:
    heard: list[str] = []
    for position, each in enumerate(order.rounds):
        if each.before == "step":
            await ctx.execute(Call(f"step {position}", retry=STEADFAST), effect, ctx.run_id, f"step {position}")
        elif each.before == "sleep":
            await ctx.sleep(f"sleep {position}", 0.02)
        elif each.before == "own event":
            await ctx.execute(Call(f"tell {position}", retry=STEADFAST), tell, ctx.run_key, f"tell {position}")
        if each.is_beside_step:
            beside = ctx.execute(
                Call(f"beside {position}", retry=STEADFAST), effect, ctx.run_id, f"beside {position}", 0.02
            )
            one, _ = await asyncio.gather(_hear(ctx, position, each.timeout), beside)
        else:
            one = await _hear(ctx, position, each.timeout)
        heard.append(one)
    return heard


async def _hear(ctx: Context, position: int, timeout: float | None) -> str:
    try:
        return await ctx.wait_for_event(f"wait {position}", "news", str, timeout=timeout)
    except EventTimeout:
        return TIMED_OUT


RACING_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, racing]
