"""``ctx.patched`` through a deploy: runs from before it go the old way for ever, later ones the new one."""

from __future__ import annotations

from durable import AsyncClient, Call, Context, RetryPolicy, RunRetryPolicy, Worker, Workflow, workflow
from tests.watching import rows, until
from tests.worker.run.notes import Notes, until_status

NEVER_AGAIN = RetryPolicy(max_retries=0)


def deploys(notes: Notes) -> list[Workflow[None, list[str]]]:
    """The same workflow before a change, with the question, and after the old way is gone."""

    async def before(ctx: Context) -> list[str]:
        await ctx.execute("charge", notes.note, "charge")
        await ctx.wait_for_event("wait", "paid")
        await ctx.execute("ship", notes.note, "ship")
        return list(notes)

    async def between(ctx: Context) -> list[str]:
        await ctx.execute("charge", notes.note, "charge")
        if ctx.patched("screening"):
            await ctx.execute("screen", notes.note, "screen")
        await ctx.wait_for_event("wait", "paid")
        if ctx.patched("screening"):
            await ctx.execute("log", notes.note, "log")
        await ctx.execute("ship", notes.note, "ship")
        return list(notes)

    async def after(ctx: Context) -> list[str]:
        await ctx.execute("charge", notes.note, "charge")
        await ctx.execute("screen", notes.note, "screen")
        await ctx.wait_for_event("wait", "paid")
        await ctx.execute("log", notes.note, "log")
        await ctx.execute("ship", notes.note, "ship")
        return list(notes)

    return [workflow(name="order")(code) for code in (before, between, after)]


async def test_a_run_from_before_the_deploy_ends_the_old_way_and_one_from_after_it_the_new_way(database: str) -> None:
    notes = Notes()
    before, between, _ = deploys(notes)
    async with AsyncClient(database) as client:
        async with Worker(database, [before]):
            old = await client.begin(before)
            await until_status(old, "waiting_event")
        async with Worker(database, [between]):
            await old.publish_event("paid", None)
            assert await old.result(timeout=20) == ["charge", "ship"]
            notes.clear()
            new = await client.begin(between)
            await new.publish_event("paid", None)
            assert await new.result(timeout=20) == ["charge", "screen", "log", "ship"]
    found = await rows(
        database,
        "SELECT output::text, carried, seq FROM durable.steps WHERE kind = 'patched' ORDER BY started_at",
    )
    assert found == [("false", True, None), ("true", True, None)]


async def test_once_the_old_way_is_gone_the_question_is_too(database: str) -> None:
    notes = Notes()
    _, between, after = deploys(notes)
    async with AsyncClient(database) as client:
        async with Worker(database, [between]):
            run = await client.begin(between)
            await until_status(run, "waiting_event")
        async with Worker(database, [after]):
            await run.publish_event("paid", None)
            assert await run.result(timeout=20) == ["charge", "screen", "log", "ship"]


async def test_an_old_run_that_comes_to_new_code_without_the_question_is_set_aside_until_it_comes_back(
    database: str,
) -> None:
    notes = Notes()
    before, between, after = deploys(notes)
    async with AsyncClient(database) as client:
        async with Worker(database, [before]):
            run = await client.begin(before)
            await until_status(run, "waiting_event")
        async with Worker(database, [after]):
            await run.publish_event("paid", None)
            await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE set_asides > 0"))
        async with Worker(database, [between]):
            await client.retry_run(run.run_key)
            assert await run.result(timeout=20) == ["charge", "ship"]


async def test_the_way_stays_the_same_through_evictions_and_retries_of_the_run(database: str) -> None:
    said: list[bool] = []

    async def refuse(attempt: int) -> None:
        if attempt < 3:
            raise ValueError("not yet")

    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def asking(ctx: Context) -> None:
        said.append(ctx.patched("way"))
        await ctx.sleep("nap", 0.01)
        await ctx.execute(Call("refuse", retry=NEVER_AGAIN), refuse, ctx.attempt)
        said.append(ctx.patched("way"))

    async with AsyncClient(database) as client, Worker(database, [asking], max_resident=1):
        await (await client.begin(asking)).result(timeout=20)
    assert set(said) == {True}
    assert await rows(database, "SELECT count(*) FROM durable.steps WHERE kind = 'patched'") == [(1,)]
