"""A step in a thread that takes longer than its caller waits for it, and what makes it good."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Any, Literal

import msgspec
import psycopg

from durable import Call, Context, RetryPolicy, StepFailed, Workflow, workflow
from tests.faults.effects import STEADFAST, effect, journal
from tests.faults.workload import WORKFLOWS

REFUNDED = "refunded"


class Charging(msgspec.Struct, frozen=True):
    """``seconds``: how long the thread hangs. ``patience``: the timeout of the step in seconds, ``None`` if the run is
    to be cancelled."""

    number: int
    seconds: float
    patience: float | None
    tries: int


def charge(run_id: str, seconds: float) -> str:
    """Nothing can interrupt it."""
    value = f"charge/{random.getrandbits(64):016x}"
    _write(run_id, "start", None)
    time.sleep(seconds)
    _write(run_id, "done", value)
    return value


def _write(run_id: str, what: Literal["start", "done"], value: str | None) -> None:
    with psycopg.connect(journal.conninfo, autocommit=True, application_name=f"journal-{os.getpid()}") as connection:
        connection.execute(
            "INSERT INTO journal (run_id, step_key, what, value, process_id) VALUES (%s, 'charge', %s, %s, %s)",
            (run_id, what, value, os.getpid()),
        )


@workflow
async def charging(ctx: Context, order: Charging) -> str:
    policy = RetryPolicy(max_retries=order.tries - 1, backoff=0, timeout=order.patience)
    try:
        return await ctx.execute(Call("charge", retry=policy), charge, ctx.run_id, order.seconds)
    except (StepFailed, asyncio.CancelledError) as error:
        await ctx.execute(Call("refund", retry=STEADFAST), effect, ctx.run_id, "refund")
        if isinstance(error, asyncio.CancelledError):
            raise
        return REFUNDED


HANGING_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, charging]
