"""A run that is asked, answers, and is told something.

Temporal's `message_passing/introduction`, `hello_query`, `hello_update` and `hello_signal`. A query reads the status
of the run; an update is a request, which the run may refuse; a signal is an event.
"""

import asyncio
from itertools import count

from durable import AsyncClient, Context, RequestRefused, Worker, workflow

GREETINGS = {"English": "Hello, world", "French": "Bonjour, monde"}


async def ask_the_translator(language: str) -> str | None:
    return {"Arabic": "مرحبا بالعالم"}.get(language)


@workflow
async def greeting(ctx: Context) -> str:
    language, greetings = "English", dict(GREETINGS)
    approval = asyncio.create_task(ctx.wait_for_event("approval", "approve", str))
    for number in count():
        ctx.set_status(language)
        change = asyncio.create_task(ctx.wait_for_request(f"change {number}", "set language", str))
        await asyncio.wait({approval, change}, return_when=asyncio.FIRST_COMPLETED)
        if approval.done():
            change.cancel()
            return f"{greetings[language]} ({approval.result()})"
        request = change.result()
        if request.payload not in greetings:
            translated = await ctx.execute(f"translate {number}", ask_the_translator, request.payload)
            if translated is None:
                await request.refuse(f"nobody speaks {request.payload}")
                continue
            greetings[request.payload] = translated
        before, language = language, request.payload
        await request.reply(before)
    raise AssertionError("count never ends")


async def main(dsn: str) -> tuple[list[str], str, object, str]:
    async with AsyncClient(dsn) as client, Worker(dsn, [greeting]):
        run = await client.begin(greeting)
        before = [await run.request("set language", name, type=str, timeout=20) for name in ("French", "Arabic")]
        try:
            await run.request("set language", "Klingon", timeout=20)
        except RequestRefused as refused:
            reason = refused.reason
        while (shown := (await run.info()).detail) != "Arabic":  # a query
            await asyncio.sleep(0.01)
        await run.publish_event("approve", "Ada")
        return before, reason, shown, await run.result()
