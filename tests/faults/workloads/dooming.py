"""A workflow that takes its worker with it, and one that is merely slow."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from durable import Call, Context, Workflow, workflow
from tests.faults.effects import STEADFAST, effect, journal
from tests.faults.failpoints import evidence
from tests.faults.workload import WORKFLOWS

EXIT_CODE = 1


class Dooming(msgspec.Struct, frozen=True):
    number: int


async def _exit(run_id: str) -> None:
    await journal.write(run_id, "doom", "start")
    evidence(journal.conninfo, f"exit {run_id}")
    os._exit(EXIT_CODE)


@workflow
async def dooming(ctx: Context, order: Dooming) -> None:
    await ctx.execute(Call("before", retry=STEADFAST), effect, ctx.run_id, "before")
    await ctx.execute(Call("doom", retry=STEADFAST), _exit, ctx.run_id)


class Dawdling(msgspec.Struct, frozen=True):
    number: int
    seconds: float


@workflow
async def dawdling(ctx: Context, order: Dawdling) -> str:
    return await ctx.execute(Call("dawdle", retry=STEADFAST), effect, ctx.run_id, "dawdle", order.seconds)


DOOMING_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, dooming, dawdling]
