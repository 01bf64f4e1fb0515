"""A workflow is changed while runs of it are under way: old runs go the old way to their end, new ones the new way.

Temporal's `patching` and `worker_versioning`. `ctx.patched` asks at the place of the change, so that runs that have not
come there yet go the new way; `ctx.version` is the version with which a run was begun. `docs/versions.md` goes on to
the deploy that drops the question.
"""

import asyncio

from durable import AsyncClient, Context, Worker, workflow


async def greet(name: str) -> str:
    return f"Hello, {name}"


async def congratulate(name: str) -> str:
    return f"Congratulations, {name}"


@workflow(name="welcome")
async def before(ctx: Context, name: str) -> list[str]:
    said = [await ctx.execute("greet", greet, name)]
    await ctx.wait_for_event("moved in", "moved in")
    return [*said, f"by version {ctx.version}"]


@workflow(name="welcome", version=2)
async def after(ctx: Context, name: str) -> list[str]:
    said: list[str] = []
    if ctx.patched("congratulations"):
        said.append(await ctx.execute("congratulate", congratulate, name))
    said.append(await ctx.execute("greet", greet, name))
    await ctx.wait_for_event("moved in", "moved in")
    return [*said, f"by version {ctx.version}"]


async def main(dsn: str) -> list[list[str]]:
    async with AsyncClient(dsn) as client:
        async with Worker(dsn, [before]):
            old = await client.begin(before, "Ada")
            while (await old.info()).status != "waiting_event":
                await asyncio.sleep(0.02)
        async with Worker(dsn, [after]):  # the deploy
            new = await client.begin(after, "Grace")
            for handle in (old, new):
                await handle.publish_event("moved in")
            return [await old.result(), await new.result()]
