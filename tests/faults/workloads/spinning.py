"""Workflow code that spins: in circles that an answer ends, in circles that nothing ends, and without any await."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Literal

import msgspec
import psycopg

from durable import Call, Context, Workflow, workflow
from tests.faults.effects import STEADFAST, effect, journal
from tests.faults.workload import WORKFLOWS

How = Literal["until answered", "for ever", "computing"]


class Spinning(msgspec.Struct, frozen=True):
    number: int
    how: How


def compute(number: int) -> None:
    """Never returns in the first process that calls it for a number; in any other at once."""
    with psycopg.connect(journal.conninfo, autocommit=True, application_name=f"evidence-{os.getpid()}") as connection:
        name = f"spins {number}"
        before = connection.execute("SELECT FROM evidence WHERE name = %s", (name,)).fetchall()
        connection.execute("INSERT INTO evidence (name, process_id) VALUES (%s, %s)", (name, os.getpid()))
    while not before:
        pass


@workflow
async def spinning(ctx: Context, order: Spinning) -> list[str]:
    values: list[str] = [await ctx.execute(Call("before", retry=STEADFAST), effect, ctx.run_id, "before")]

    async def work() -> None:
        values.append(await ctx.execute(Call("work", retry=STEADFAST), effect, ctx.run_id, "work", 0.1))

    if order.how == "computing":
        compute(order.number)
        await work()
    elif order.how == "until answered":
        working = asyncio.create_task(work())
        while not working.done():
            await asyncio.sleep(0)
    else:
        while True:
            await asyncio.sleep(0)
    return values


SPINNING_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, spinning]
