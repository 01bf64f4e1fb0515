"""The codec of a workflow, or of client and worker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import Ask, AsyncClient, Context, DeserializationError, JsonCodec, Place, Worker, workflow
from tests.watching import rows
from tests.worker.flows import process_all, process_until_there_is_one


class Reversed(JsonCodec):
    """What it stores nobody reads by accident."""

    def encode(self, value: object, what: str) -> str:
        return super().encode(super().encode(value, what)[::-1], what)

    def decode(self, text: str, type: Any, what: str) -> Any:
        return super().decode(super().decode(text, str, what)[::-1], type, what)


@pytest.mark.parametrize("whose", ["the workflow", "client and worker"])
async def test_a_codec_of_a_workflow_or_of_client_and_worker_encodes_all_that_is_stored(
    database: str, whose: str
) -> None:
    both = {} if whose == "the workflow" else {"codec": Reversed()}

    async def append(text: str) -> str:
        return text + "step, "

    @workflow(codec=Reversed() if whose == "the workflow" else None)
    async def secret(ctx: Context, text: str) -> str:
        text = await ctx.execute("append", append, text)
        return text + await ctx.wait_for_event("wait", "news", str)

    worker = Worker(database, [secret], **both)
    async with AsyncClient(database, **both) as client:
        handle = await client.begin(secret, "input, ")
        assert await worker.process_one()
        await handle.publish_event("news", "event")
        await process_until_there_is_one(worker)
        assert await handle.result(timeout=0) == "input, step, event"
    stored = await rows(
        database,
        "SELECT run.input::text, run.output::text, step.input::text, step.output::text, event.payload::text"
        " FROM durable.runs AS run, durable.steps AS step, durable.events AS event",
    )
    for text in stored[0]:
        assert not any(word in text for word in ("input", "step", "event"))
        assert any(word[::-1] in text for word in ("input", "step", "event"))


class Bound(JsonCodec):
    """Writes the place beside the value, as a cipher would authenticate it."""

    def __init__(self, place: str = "nowhere") -> None:
        super().__init__()
        self._place = place

    def bound_to(self, place: Place) -> Bound:
        return Bound(str(place))

    def encode(self, value: object, what: str) -> str:
        return super().encode([self._place, super().encode(value, what)], what)

    def decode(self, text: str, type: Any, what: str) -> Any:
        place, value = super().decode(text, list[str], what)
        if place != self._place:
            raise DeserializationError(what, f"it was written for {place}, and not for {self._place}")
        return super().decode(value, type, what)


async def echo(text: str) -> str:
    return text


@workflow(codec=Bound())
async def small(ctx: Context, text: str) -> str:
    return await ctx.execute("echo", echo, text)


@workflow(codec=Bound())
async def large(ctx: Context, text: str) -> str:
    async def store(tx: Any, text: str) -> str:
        return text

    drawn = await ctx.random_uint64("number")
    stored = await ctx.transaction("store", store, text)
    await ctx.sleep("nap", 0.01)
    heard = await ctx.wait_for_event("wait", "news", str)
    child = await ctx.run_child("child", small, heard)
    await ctx.sleep("another nap", 0.01)
    return f"{stored} {child} {await ctx.random_uint64('another') != drawn}"


async def test_a_codec_is_told_the_place_of_every_value(database: str) -> None:
    async with AsyncClient(database, codec=Bound()) as client:
        handle = await client.begin(large, "a")
        keyed = await client.begin(small, "b", key="k")
        (several,) = await client.begin_many(small, ["c"])
        await client.schedule(small, "d", "s", "0 9 1 1 *", run_now=True)
        triggered = await client.trigger_schedule("s")
        await handle.publish_event("news", "heard")
        # A new worker each time, so that everything is read back.
        async with asyncio.timeout(20):
            while (await handle.info()).status != "completed":
                await Worker(database, [large, small]).process_one()
            while await Worker(database, [large, small]).process_one():
                pass
        assert await handle.result(timeout=0) == "a heard True"
        for run_key, output in ((keyed.run_key, "b"), (several, "c"), (triggered, "d")):
            assert await client.handle(run_key, small).result(timeout=0) == output
            assert await client.get_run_output(run_key, str) == output
    run_id = handle.run_key.run_id
    stored = await rows(
        database,
        "SELECT input->>0 FROM durable.runs UNION SELECT output->>0 FROM durable.runs"
        " UNION SELECT input->>0 FROM durable.steps WHERE input IS NOT NULL AND run_id = %s"
        " UNION SELECT output->>0 FROM durable.steps WHERE child_run_id IS NULL AND run_id = %s"
        " UNION SELECT payload->>0 FROM durable.events WHERE kind = 'event'",
        *(run_id, run_id),
    )
    places = {place for (place,) in stored}
    assert places >= {
        f'["input","{run_id}",""]',
        f'["output","{run_id}",""]',
        f'["input of a child","{run_id}",""]',
        '["input of a schedule","small",""]',
        f'["step","{run_id}","store"]',
        f'["step","{run_id}","number"]',
        f'["arguments of a step","{run_id}","store"]',
        f'["event","{run_id}","news"]',
        f'["output","{keyed.run_key.run_id}",""]',
    }
    assert "nowhere" not in places


@workflow(codec=Bound())
async def in_chapters(ctx: Context, text: str) -> str:
    if ctx.chapter == 1:
        return await ctx.continue_as_new(await ctx.execute("echo", echo, f"{text} again"))
    (mapped,) = await ctx.map("map", echo, [text])
    try:
        async with ctx.saga() as saga:
            saga.undo("echo", echo, text)
            raise ValueError("no")
    except ValueError:
        return mapped


@workflow(codec=Bound())
async def begins_one(ctx: Context) -> str:
    return await ctx.run_child("child", in_chapters, "child")


async def test_the_input_of_a_later_chapter_is_the_run_s_own_whatever_began_the_run(database: str) -> None:
    async with AsyncClient(database, codec=Bound()) as client:
        plain, parent = await client.begin(in_chapters, "plain"), await client.begin(begins_one)
        await client.schedule(in_chapters, "tick", "s", "0 9 1 1 *", run_now=True)
        triggered = await client.trigger_schedule("s")
        assert await process_all(Worker(database, [in_chapters, begins_one])) >= 4
        for run_key, output in (
            (plain.run_key, "plain again"),
            (parent.run_key, "child again"),
            (triggered, "tick again"),
        ):
            assert await client.handle(run_key, str).result(timeout=10) == output
    inputs = await rows(database, "SELECT input->>0, run_id::text FROM durable.runs WHERE chapter = 2")
    assert {place for place, _ in inputs} == {f'["input","{run_id}",""]' for _, run_id in inputs}


async def test_what_was_moved_to_another_place_is_refused(database: str) -> None:
    async with AsyncClient(database) as client:
        first, second = await client.begin(small, "first"), await client.begin(small, "second")
        worker = Worker(database, [small])
        assert await process_all(worker) == 2
        swap = (
            "UPDATE durable.runs AS one SET {0} = other.{0} FROM durable.runs AS other"
            " WHERE one.run_id <> other.run_id AND one.workflow_name_shard = other.workflow_name_shard RETURNING 1"
        )
        await rows(database, swap.format("output"))
        with pytest.raises(DeserializationError, match="it was written for "):
            await first.result(timeout=0)
        for handle in (first, second):
            await rows(database, "DELETE FROM durable.runs WHERE run_id = %s RETURNING 1", handle.run_key.run_id)
        third, _ = await client.begin(small, "third"), await client.begin(small, "fourth")
        await rows(database, swap.format("input"))
        await process_all(worker)
        info = await third.info()
    assert info.status != "completed"
    assert info.error is not None
    assert "it was written for " in info.error.message


@workflow(codec=Bound())
async def answering(ctx: Context, text: str) -> str:
    request = await ctx.wait_for_request("ask", "question", str)
    await request.reply(f"{text} to {request.payload}")
    await ctx.sleep("nap", 0.01)
    return text


async def test_requests_and_replies_are_bound_to_their_places_also_if_they_move(database: str) -> None:
    async with AsyncClient(database, codec=Bound()) as client:
        first = await client.begin(
            answering, "first", key="k", if_ended="begin_anew", request=Ask("question", "one", key="1")
        )
        second = await client.begin(
            answering, "second", key="k", if_ended="begin_anew", request=Ask("question", "two", key="2")
        )
        async with Worker(database, [answering], codec=Bound()):
            assert await first.reply(str, timeout=20) == "first to one"
            assert await second.reply(str, timeout=20) == "second to two"
            assert await client.request(first.run_key, "question", key="2", type=str) == "second to two"
    places = await rows(database, "SELECT DISTINCT reply->>0 FROM durable.events WHERE kind = 'request'")
    assert len(places) == 2
    assert all(place.startswith('["reply",') for (place,) in places)
