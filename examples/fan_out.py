"""Many steps at once with plain asyncio: each is recorded separately, in whatever order they finish."""

import asyncio

from durable import AsyncClient, Context, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


async def count_words(text: str) -> int:
    return len(text.split())


def longest_word(text: str) -> str:  # a sync function runs in a thread
    return max(text.split(), key=len)


@workflow
async def analyze(ctx: Context, texts: list[str]) -> dict[str, int | str]:
    counts = await asyncio.gather(*(ctx.execute(f"count {i}", count_words, text) for i, text in enumerate(texts)))
    async with asyncio.TaskGroup() as group:
        words = [group.create_task(ctx.execute(f"longest {i}", longest_word, text)) for i, text in enumerate(texts)]
    return {"words": sum(counts), "longest": max((word.result() for word in words), key=len)}


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with AsyncClient(dsn) as client, Worker(dsn, [analyze]):
            handle = await client.begin(analyze, ["to be or not", "that is the question", "whether 'tis nobler"])
            print(await handle.result(timeout=10))


asyncio.run(main())

# Output:
# {'words': 11, 'longest': 'question'}
