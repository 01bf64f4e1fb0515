"""A codec that lets pass what no text that goes to the server may contain, and a workflow that returns it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from durable import Call, Context, JsonCodec, RetryPolicy, Workflow, workflow
from tests.faults.effects import STEADFAST, effect, journal
from tests.faults.workload import WORKFLOWS

_GARBLED = "garbled"


class Garbling(msgspec.Struct, frozen=True):
    number: int
    where: Literal["output", "step"]


class Surrogates(JsonCodec):
    """Turns one text into a lone surrogate."""

    def encode(self, value: object, what: str) -> str:
        return '"\ud800"' if value == _GARBLED else super().encode(value, what)


CODEC = Surrogates()


async def garble(run_id: str) -> str:
    await journal.write(run_id, "garble", "start")
    return _GARBLED


@workflow
async def garbling(ctx: Context, order: Garbling) -> str:
    await ctx.execute(Call("before", retry=STEADFAST), effect, ctx.run_id, "before")
    if order.where == "step":
        await ctx.execute(Call("garble", retry=RetryPolicy(max_retries=0)), garble, ctx.run_id)
    return _GARBLED


GARBLING_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, garbling]
