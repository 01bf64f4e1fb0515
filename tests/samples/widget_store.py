"""A checkout that answers before it has ended.

DBOS's `widget-store`. Whoever orders is sent to the payment page at once: the request is made with the begin, in one
transaction, and is answered as soon as the run knows the page. The run then waits for the payment. An order that is
sent twice is one run, one reservation and one page.
"""

import asyncio

from durable import Ask, AsyncClient, Context, EventTimeout, Worker, workflow

stock = {"widget": 2}


async def reserve(what: str) -> bool:
    if stock[what] == 0:
        return False
    stock[what] -= 1
    return True


async def put_back(what: str) -> None:
    stock[what] += 1


@workflow
async def checkout(ctx: Context, what: str) -> str:
    request = await ctx.wait_for_request("order", "payment page", timeout=60)
    if not await ctx.execute("reserve", reserve, what):
        await request.refuse(f"there is no {what} left")
        return "sold out"
    await request.reply(f"https://pay.example/{await ctx.random_uuid7('page')}")
    try:
        paid = await ctx.wait_for_event("payment", "payment", bool, timeout=3600)
    except EventTimeout:
        paid = False
    if not paid:
        await ctx.execute("put back", put_back, what)
    return "shipped" if paid else "cancelled"


async def order(client: AsyncClient, number: str) -> str:
    page = Ask("payment page", key=number)
    run = await client.begin(checkout, "widget", key=number, if_ended="begin_anew", request=page)
    return await run.reply(str, timeout=20)


async def main(dsn: str) -> tuple[bool, list[str], dict[str, int]]:
    async with AsyncClient(dsn) as client, Worker(dsn, [checkout]):
        pages = await asyncio.gather(*(order(client, number) for number in ("a", "b", "a")))
        for number, paid in (("a", True), ("b", False)):
            await client.publish_event((checkout, number), "payment", paid)
        ends = [await client.handle(checkout, key=number).result(timeout=20) for number in ("a", "b")]
        return pages[0] == pages[2] != pages[1], ends, stock
