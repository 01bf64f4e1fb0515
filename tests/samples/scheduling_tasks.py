"""A payment has failed: the customer is reminded each day, and after three reminders the account is closed.

Restate's `schedulingtasks`. The key of the run is the subscription, so a payment provider that reports the same failure
again begins nothing, and the payment, when it comes, finds the run.
"""

from datetime import timedelta

from durable import AsyncClient, Context, EventTimeout, Worker, workflow

A_DAY = timedelta(seconds=0.3)  # in production: timedelta(days=1)
REMINDERS = 3
mails: list[str] = []


async def send_reminder(subscription: str, *, number: int) -> None:
    mails.append(f"{subscription}: reminder {number}")


async def close_account(subscription: str) -> None:
    mails.append(f"{subscription}: closed")


@workflow
async def dunning(ctx: Context, subscription: str) -> str:
    for number in range(1, REMINDERS + 1):
        await ctx.execute(f"remind {number}", send_reminder, subscription, number=number)
        try:
            await ctx.wait_for_event(f"day {number}", "paid", timeout=A_DAY)
        except EventTimeout:
            continue
        return f"paid after {number} reminders"
    await ctx.execute("close", close_account, subscription)
    return "closed"


async def payment_failed(client: AsyncClient, subscription: str) -> bool:
    handle = await client.begin(dunning, subscription, key=subscription)
    return handle.is_new


async def payment_arrived(client: AsyncClient, subscription: str) -> str:
    handle = await client.begin(dunning, subscription, key=subscription)  # finds the run that there is
    await handle.publish_event("paid")
    return await handle.result()


async def main(dsn: str) -> tuple[list[bool], list[str]]:
    async with AsyncClient(dsn) as client, Worker(dsn, [dunning]):
        begun = [await payment_failed(client, name) for name in ("honest", "broke", "broke")]
        outcomes = [await payment_arrived(client, "honest")]
        broke = await client.begin(dunning, "broke", key="broke")
        return begun, [*outcomes, await broke.result()]
