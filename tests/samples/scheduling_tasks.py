"""A payment has failed: the customer is reminded each day, and after three reminders the account is closed.

Restate's `schedulingtasks`. The key of the run is the invoice, so a provider that reports the same failure twice begins
one run. The application keeps the run's key with the invoice, and tells the run when the payment has come.
"""

from datetime import timedelta

from durable import AsyncClient, Context, EventTimeout, RunKey, Worker, workflow

A_DAY = timedelta(seconds=0.3)  # in production: timedelta(days=1)
REMINDERS = 3
dunning_of: dict[str, RunKey] = {}  # in production: a column of your invoices
mails: list[str] = []


async def send_reminder(invoice: str, *, number: int) -> None:
    mails.append(f"{invoice}: reminder {number}")


async def close_account(invoice: str) -> None:
    mails.append(f"{invoice}: closed")


@workflow
async def dunning(ctx: Context, invoice: str) -> str:
    for number in range(1, REMINDERS + 1):
        await ctx.execute(f"remind {number}", send_reminder, invoice, number=number)
        try:
            await ctx.wait_for_event(f"day {number}", "paid", timeout=A_DAY)
        except EventTimeout:
            continue
        return f"paid, reminders: {number}"
    await ctx.execute("close", close_account, invoice)
    return "closed"


async def payment_failed(client: AsyncClient, invoice: str) -> bool:
    handle = await client.begin(dunning, invoice, key=invoice)
    dunning_of[invoice] = handle.run_key
    return handle.is_new


async def payment_arrived(client: AsyncClient, invoice: str) -> None:
    await client.publish_event(dunning_of[invoice], "paid")


async def main(dsn: str) -> tuple[list[bool], list[str]]:
    async with AsyncClient(dsn) as client, Worker(dsn, [dunning]):
        begun = [await payment_failed(client, invoice) for invoice in ("invoice 1", "invoice 2", "invoice 2")]
        await payment_arrived(client, "invoice 1")
        return begun, [await client.handle(run_key, dunning).result() for run_key in dunning_of.values()]
