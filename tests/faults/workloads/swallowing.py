"""Workflow code that catches what it should let pass, at each of its awaits."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec

from durable import Call, Context, RetryPolicy, Workflow, workflow
from tests.faults.effects import STEADFAST, effect, journal
from tests.faults.workload import WORKFLOWS

ROUNDS = 3
_NEVER_AGAIN = RetryPolicy(max_retries=0)

Style = Literal["catch all", "rescue", "finally", "gather", "group"]


class Swallowing(msgspec.Struct, frozen=True):
    number: int
    style: Style


async def refuse(run_id: str, key: str) -> str:
    """A step that fails for good."""
    await journal.write(run_id, key, "start")
    raise ConnectionRefusedError(key)


@workflow
async def swallowing(ctx: Context, order: Swallowing) -> list[str]:
    match order.style:
        case "catch all":
            return await _catch_all(ctx)
        case "rescue":
            return await _rescue(ctx)
        case "finally":
            return await _finally(ctx)
        case "gather":
            return await _gather(ctx)
        case "group":
            return await _group(ctx)


async def _one(ctx: Context, key: str) -> str:
    return await ctx.execute(Call(key, retry=STEADFAST), effect, ctx.run_id, key)


async def _catch_all(ctx: Context) -> list[str]:
    values: list[str] = []
    for number in range(ROUNDS):
        try:
            values.append(await _one(ctx, f"step {number}"))
        except BaseException as error:
            values.append(type(error).__name__)
        try:
            await ctx.sleep(f"nap {number}", 0.1)
        except BaseException:
            values.append("awoken")
        try:
            await ctx.wait_for_event(f"wait {number}", "never", str, timeout=0.05)
        except BaseException as error:
            values.append(type(error).__name__)
    return values


async def _rescue(ctx: Context) -> list[str]:
    """Answers whatever comes, also its own end in this worker, with one more call."""
    values: list[str] = []
    for number in range(ROUNDS):
        try:
            await ctx.sleep(f"nap {number}", 0.1)
            values.append(
                await ctx.execute(Call(f"step {number}", retry=_NEVER_AGAIN), refuse, ctx.run_id, f"step {number}")
            )
        except BaseException:
            values.append(await _one(ctx, f"rescue {number}"))
    return values


async def _finally(ctx: Context) -> list[str]:
    values: list[str] = []
    for number in range(ROUNDS):
        try:
            values.append(await _one(ctx, f"step {number}"))
            await ctx.sleep(f"nap {number}", 0.1)
        finally:
            values.append(await _one(ctx, f"tidy {number}"))
    return values


async def _gather(ctx: Context) -> list[str]:
    results = await asyncio.gather(
        _one(ctx, "step 0"),
        ctx.sleep("nap", 0.1),
        ctx.execute(Call("step 1", retry=_NEVER_AGAIN), refuse, ctx.run_id, "step 1"),
        ctx.wait_for_event("wait", "never", str, timeout=0.05),
        _one(ctx, "step 2"),
        return_exceptions=True,
    )
    return [type(each).__name__ if isinstance(each, BaseException) else str(each) for each in results]


async def _group(ctx: Context) -> list[str]:
    values: list[str] = []
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep("nap", 1000.0))
            group.create_task(ctx.execute(Call("step 0", retry=_NEVER_AGAIN), refuse, ctx.run_id, "step 0"))
    except* BaseException as caught:
        values += [type(error).__name__ for error in caught.exceptions]
    return [*values, await _one(ctx, "step 1")]


SWALLOWING_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, swallowing]
