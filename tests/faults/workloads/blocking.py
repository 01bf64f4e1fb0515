"""A workflow that holds the event loop of its worker, in its own code or in an async step."""

from __future__ import annotations

import os
import time
from typing import Any, Literal

import msgspec
import psycopg

from durable import Call, Context, Workflow, workflow
from tests.faults.effects import STEADFAST, effect, journal
from tests.faults.workload import WORKFLOWS


class Blocking(msgspec.Struct, frozen=True):
    number: int
    where: Literal["workflow", "step"]
    seconds: float


def hold_the_loop(number: int, seconds: float) -> None:
    """Blocks the thread; evidence of both ends is committed."""
    with psycopg.connect(journal.conninfo, autocommit=True, application_name=f"evidence-{os.getpid()}") as connection:
        insert = "INSERT INTO evidence (name, process_id) VALUES (%s, %s)"
        connection.execute(insert, (f"held {number}", os.getpid()))
        time.sleep(seconds)
        connection.execute(insert, (f"let go {number}", os.getpid()))


async def _hold_in_a_step(run_id: str, key: str, order: Blocking) -> str:
    hold_the_loop(order.number, order.seconds)
    return await effect(run_id, key)


@workflow
async def blocking(ctx: Context, order: Blocking) -> list[str]:
    before = await ctx.execute(Call("before", retry=STEADFAST), effect, ctx.run_id, "before")
    if order.where == "step":
        held = await ctx.execute(Call("held", retry=STEADFAST), _hold_in_a_step, ctx.run_id, "held", order)
    else:
        hold_the_loop(order.number, order.seconds)
        held = await ctx.execute(Call("held", retry=STEADFAST), effect, ctx.run_id, "held")
    return [before, held]


BLOCKING_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, blocking]
