"""Wait for a person, but not forever: the event or the timeout, whichever comes first, is recorded."""

import asyncio

import msgspec

from durable import AsyncClient, Context, EventTimeout, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


class Decision(msgspec.Struct):
    by: str
    approved: bool


@workflow
async def expense(ctx: Context, amount: int) -> str:
    try:
        decision = await ctx.wait_for_event("decision", "decided", Decision, timeout=1)
    except EventTimeout:
        return f"${amount}: nobody answered, sent back"
    return f"${amount}: {'approved' if decision.approved else 'rejected'} by {decision.by}"


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with AsyncClient(dsn) as client, Worker(dsn, [expense]):
            lunch, yacht, forgotten = [await client.begin(expense, amount) for amount in (20, 2_000_000, 50)]
            await lunch.publish_event("decided", Decision("Ada", approved=True))
            await yacht.publish_event("decided", Decision("Ada", approved=False))
            for handle in (lunch, yacht, forgotten):
                print(await handle.result(timeout=10))


asyncio.run(main())

# Output:
# $20: approved by Ada
# $2000000: rejected by Ada
# $50: nobody answered, sent back
