"""The web page waits for the result, but not for long: after that the result is mailed.

Restate's `syncasync`. The request handler leaves its address with the run when its patience is over. If the run ends at
that very moment, the event is refused, and the result is there.
"""

import asyncio

from durable import AsyncClient, Context, EventTimeout, ResultTimeout, RunTerminal, Worker, workflow

mailed: asyncio.Queue[str] = asyncio.Queue()


async def prepare(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return f"the file that took {seconds} s"


async def send_mail(address: str, text: str) -> None:
    await mailed.put(f"to {address}: {text}")


@workflow
async def upload(ctx: Context, seconds: float) -> str:
    file = await ctx.execute("prepare", prepare, seconds)
    try:
        address = await ctx.wait_for_event("address", "mail it", str, timeout=0)  # only looks
    except EventTimeout:
        return file
    await ctx.execute("mail", send_mail, address, file)
    return file


async def handle_request(client: AsyncClient, seconds: float) -> str:
    handle = await client.begin(upload, seconds)
    try:
        return await handle.result(timeout=0.5)
    except ResultTimeout:
        try:
            await handle.publish_event("mail it", "ada@example.org")
        except RunTerminal:
            return await handle.result()
        return "we will mail it"


async def main(dsn: str) -> list[str]:
    async with AsyncClient(dsn) as client, Worker(dsn, [upload]):
        return [await handle_request(client, 0.0), await handle_request(client, 1.5), await mailed.get()]
