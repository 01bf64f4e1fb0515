"""Two releases of one application: the same names, other code; and a workflow that only the later one knows."""

from __future__ import annotations

from typing import Any

import msgspec

from durable import Call, Context, Workflow, workflow
from tests.faults.effects import STEADFAST, effect
from tests.faults.workload import WORKFLOWS

OLD_KEYS = ("reserve", "charge", "ship")
NEW_KEYS = ("charge", "reserve", "inform", "ship")
"""Reordered, and one more."""


class Rolled(msgspec.Struct, frozen=True):
    number: int
    seconds: float


class Release(msgspec.Struct, frozen=True):
    """Which code has returned this, and what its steps had returned."""

    name: str
    values: list[str]


async def _one(ctx: Context, key: str) -> str:
    return await ctx.execute(Call(key, retry=STEADFAST), effect, ctx.run_id, key)


@workflow(name="rolled")
async def old_rolled(ctx: Context, order: Rolled) -> Release:
    values = [await _one(ctx, key) for key in OLD_KEYS[:-1]]
    await ctx.sleep("nap", order.seconds)
    return Release("old", [*values, await _one(ctx, OLD_KEYS[-1])])


@workflow(name="rolled")
async def new_rolled(ctx: Context, order: Rolled) -> Release:
    values = [await _one(ctx, key) for key in NEW_KEYS[:-1]]
    await ctx.sleep("nap", order.seconds)
    return Release("new", [*values, await _one(ctx, NEW_KEYS[-1])])


@workflow
async def newcomer(ctx: Context, order: Rolled) -> str:
    return await _one(ctx, "arrive")


OLD_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, old_rolled]
NEW_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, new_rolled, newcomer]
