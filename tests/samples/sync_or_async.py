"""The web page waits for the result, but not for long: after that the result is mailed.

Restate's `syncasync`. When the patience of the request handler is over, it begins a run that mails the result. No
moment is too late for that, since the result of a run can be asked for at any time. Between two looks the mailing run
sleeps, and it survives every restart.
"""

import asyncio

import msgspec

from durable import AsyncClient, Call, Context, ResultTimeout, RetryPolicy, Worker, Workflow, workflow

mails: asyncio.Queue[str] = asyncio.Queue()


class Mailing(msgspec.Struct):
    upload: str
    address: str


async def prepare(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return f"the file that took {seconds} s"


async def send_mail(address: str, text: str) -> None:
    await mails.put(f"to {address}: {text}")


@workflow
async def upload(ctx: Context, seconds: float) -> str:
    return await ctx.execute("prepare", prepare, seconds)


def mailing(client: AsyncClient) -> Workflow[Mailing, None]:
    async def find_file(run_key: str) -> str:
        return await client.handle(run_key, upload).result(timeout=0)  # only looks

    @workflow
    async def mail(ctx: Context, input: Mailing) -> None:
        every_two_seconds = RetryPolicy(max_retries=10_000, backoff=2)
        file = await ctx.execute(Call("find", retry=every_two_seconds), find_file, input.upload)
        await ctx.execute("mail", send_mail, input.address, file)

    return mail


async def handle_request(client: AsyncClient, seconds: float) -> str:
    handle = await client.begin(upload, seconds)
    try:
        return await handle.result(timeout=0.5)
    except ResultTimeout:
        await client.begin(mailing(client), Mailing(str(handle.run_key), "ada@example.org"))
        return "we will mail it"


async def main(dsn: str) -> list[str]:
    async with AsyncClient(dsn) as client, Worker(dsn, [upload, mailing(client)]):
        return [await handle_request(client, 0.0), await handle_request(client, 1.5), await mails.get()]
