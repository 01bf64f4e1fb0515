"""A claim for a bird strike: assess, reserve, approve, wait, pay, notify. `durable demo` runs a thousand of them."""

from __future__ import annotations

import csv
import random
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

import msgspec
from psycopg import AsyncConnection

from durable import Call, Context, RetryPolicy, exponential, workflow

APPROVAL_THRESHOLD = 1_000


class Claim(msgspec.Struct):
    report: int
    airport: str
    aircraft: str
    cost: int


class Settlement(msgspec.Struct):
    report: int
    amount: int
    approved_by: str


Note = Callable[[str, int], Awaitable[None]]


async def _note_nothing(step: str, report: int) -> None:
    """Does nothing: outside the demo, the calls of steps are not counted."""


note: Note = _note_nothing
"""Called by each step with the step's name and the number of the claim, before the step does anything."""


def read_claims(count: int) -> list[Claim]:
    """Returns the first ``count`` records of ``birdstrikes.csv`` as claims; a claim's number is its line in the
    file."""
    lines = files("durable.cli.demo").joinpath("birdstrikes.csv").read_text(encoding="utf-8").splitlines()
    return [
        Claim(
            report=number,
            airport=row["Airport Name"],
            aircraft=row["Aircraft Make Model"],
            cost=int(row["Cost Total $"]),
        )
        for number, row in enumerate(csv.DictReader(lines), start=2)
        if number < count + 2
    ]


async def assess(claim: Claim) -> int:
    await note("assess", claim.report)
    return max(claim.cost, 0)


async def book(tx: AsyncConnection[Any], kind: str, report: int, amount: int) -> None:
    await tx.execute("INSERT INTO ledger (kind, report, amount) VALUES (%s, %s, %s)", (kind, report, amount))


async def notify(report: int, amount: int) -> str:
    await note("notify", report)
    if random.random() < 0.3:
        raise ConnectionError("the mail server hung up")
    return f"claim {report}: ${amount} is on its way"


@workflow(name="claim", concurrency=200)
async def handle_claim(ctx: Context, claim: Claim) -> Settlement:
    amount = await ctx.execute("assess", assess, claim)
    await ctx.transaction("reserve", book, "reserved", claim.report, amount)
    approver = "rules"
    if amount > APPROVAL_THRESHOLD:
        approver = await ctx.wait_for_event("approval", "approved", str)
    await ctx.sleep("cooling-off", 0.5)
    await ctx.transaction("pay", book, "paid", claim.report, amount)
    persistent = RetryPolicy(max_retries=30, backoff=exponential(0.02, 0.5))
    await ctx.execute(Call("notify", retry=persistent), notify, claim.report, amount)
    return Settlement(claim.report, amount, approver)
