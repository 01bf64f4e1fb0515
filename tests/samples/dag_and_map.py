"""A graph of steps that depend on each other, and the same step for each item of a list.

PgFlow's seeds. The graph is what the awaits say: three analyses at once, then one step with all their results. The map
runs at most four at once, keeps the order, and goes on although a page cannot be read.
"""

import asyncio

from durable import AsyncClient, Call, Context, RetryPolicy, Worker, workflow


async def fetch(url: str) -> str:
    if url.endswith(".invalid"):
        raise ConnectionError(f"no such host: {url}")
    return f"All is well at {url}"


async def summarize(page: str) -> str:
    return page.split(" at ")[0]


async def judge(page: str) -> str:
    return "positive" if "well" in page else "negative"


async def tag(page: str) -> list[str]:
    return [word for word in page.split() if word.istitle()]


async def save(summary: str, *, mood: str, tags: list[str]) -> str:
    return f"{summary} ({mood}; {', '.join(tags)})"


@workflow
async def analyze(ctx: Context, url: str) -> str:
    page = await ctx.execute("fetch", fetch, url)
    summary, mood, tags = await asyncio.gather(
        ctx.execute("summarize", summarize, page), ctx.execute("judge", judge, page), ctx.execute("tag", tag, page)
    )
    return await ctx.execute("save", save, summary, mood=mood, tags=tags)


@workflow
async def crawl(ctx: Context, urls: list[str]) -> tuple[list[str], list[str]]:
    once = Call("page", retry=RetryPolicy(max_retries=0))
    result = await ctx.map(once, fetch, urls, max_concurrency=4, max_failures=None)
    return result.values, [urls[index] for index in result.failures]


async def main(dsn: str) -> tuple[str, tuple[list[str], list[str]]]:
    urls = [f"page-{number}.{'invalid' if number == 7 else 'example'}" for number in range(20)]
    async with AsyncClient(dsn) as client, Worker(dsn, [analyze, crawl]):
        analyzed = await client.begin(analyze, "example.org")
        return await analyzed.result(), await (await client.begin(crawl, urls)).result()
