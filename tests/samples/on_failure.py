"""Whatever a run fails of, somebody hears of it.

Hatchet's and Inngest's `on_failure` and `on_success`. A run of the workflow that `on_failure` names begins in the
transaction in which the other one fails for good: of an error, of its timeout, of workers that keep dying. What shall
happen after success is the last step. A run knows whether an attempt is its last.
"""

import asyncio

from durable import AsyncClient, Call, Context, FailedRun, RetryPolicy, RunRetryPolicy, StepFailed, Worker, workflow

mails: asyncio.Queue[str] = asyncio.Queue()
ONE_CALL = RetryPolicy(max_retries=0)


async def charge(customer: str) -> str:
    if customer == "broke":
        raise ValueError("the card was declined")
    return "receipt"


async def send_mail(text: str) -> None:
    await mails.put(text)


@workflow
async def tell_support(ctx: Context, failed: FailedRun[str]) -> None:
    await ctx.execute("mail", send_mail, f"{failed.input}: {failed.error.type}")


@workflow(on_failure=tell_support, retry=RunRetryPolicy(max_attempts=2, backoff=0.1))
async def bill(ctx: Context, customer: str) -> None:
    try:
        receipt = await ctx.execute(Call("charge", retry=ONE_CALL), charge, customer)
    except StepFailed:
        if ctx.is_last_attempt:
            await ctx.execute("give up", send_mail, f"{customer}: given up in attempt {ctx.attempt}")
        raise
    await ctx.execute("thank", send_mail, f"{customer}: here is your {receipt}")


@workflow(on_failure=tell_support, timeout=0.3)
async def wait_for_payment(ctx: Context, customer: str) -> None:
    await ctx.wait_for_event("payment", "paid")


async def main(dsn: str) -> list[str]:
    async with AsyncClient(dsn) as client, Worker(dsn, [bill, wait_for_payment, tell_support]):
        await client.begin(bill, "rich")
        await client.begin(bill, "broke")
        await client.begin(wait_for_payment, "slow")
        return sorted([await mails.get() for _ in range(4)])
