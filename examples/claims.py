"""A claim for a bird strike: assess, reserve, approve, wait, pay, notify. `durable demo` runs a thousand of them."""

import random

import msgspec
from psycopg import AsyncConnection

from durable import Context, RetryPolicy, exponential, workflow

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


async def called(step: str, report: int) -> None:
    """`durable demo` puts a journal here that survives every crash."""


async def assess(claim: Claim) -> int:
    await called("assess", claim.report)
    return max(claim.cost, 0)


async def book(tx: AsyncConnection, kind: str, report: int, amount: int) -> None:
    await tx.execute("INSERT INTO ledger (kind, report, amount) VALUES (%s, %s, %s)", (kind, report, amount))


async def notify(report: int, amount: int) -> str:
    await called("notify", report)
    if random.random() < 0.3:
        raise ConnectionError("the mail server hung up")
    return f"claim {report}: {amount} $ are on their way"


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
    await ctx.execute("notify", notify, claim.report, amount, retry=persistent)
    return Settlement(claim.report, amount, approver)
