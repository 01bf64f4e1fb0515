"""Runs that anybody may cancel, terminate, retry or tell something, and that schedules begin."""

from __future__ import annotations

from typing import Any

import msgspec

from durable import Call, Context, EventTimeout, Workflow, workflow
from tests.faults.effects import STEADFAST, effect
from tests.faults.workload import WORKFLOWS

TIMED_OUT = "timed out"


class Mixed(msgspec.Struct, frozen=True):
    number: int


@workflow
async def mixed(ctx: Context, order: Mixed) -> list[str]:
    before = await ctx.execute(Call("before", retry=STEADFAST), effect, ctx.run_id, "before")
    try:
        heard = await ctx.wait_for_event("told", "news", str, timeout=0.5)
    except EventTimeout:
        heard = TIMED_OUT
    return [before, heard]


@workflow
async def tolling(ctx: Context) -> None:
    await ctx.execute(Call("toll", retry=STEADFAST), effect, ctx.run_id, "toll")


MIXED_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, mixed, tolling]
