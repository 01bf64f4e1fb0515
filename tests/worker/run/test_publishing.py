"""Runs that send events to other runs."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import psycopg
import pytest

from durable import (
    AsyncClient,
    ChildHandle,
    Context,
    DuplicateKey,
    Event,
    InvalidArgument,
    JsonCodec,
    Place,
    RunKey,
    RunRetryPolicy,
    SerializationError,
    Worker,
    workflow,
)
from durable.admin import migrate
from tests.watching import reached, rows
from tests.worker.flows import running


class Payment(msgspec.Struct):
    order: str
    cents: int


paid = Event("paid", Payment)
done = Event("done")
note = Event("note", str)


@workflow
async def listener(ctx: Context, count: int) -> list[Any]:
    return [await ctx.wait_for_event(f"note-{number}", note) for number in range(count)]


@workflow
async def sender(ctx: Context, target: str) -> None:
    for number in range(3):
        await ctx.publish_event(f"send-{number}", target, note, f"n{number}")


@workflow
async def key_sender(ctx: Context, key: str) -> None:
    await ctx.publish_event("send", (listener, key), note, "by workflow")
    await ctx.publish_event("send by name", ("listener", key), "note", "by name")


async def test_a_run_sends_events_to_another_one_which_gets_them_in_order(database: str) -> None:
    async with running(database, listener, sender) as client:
        hearing = await client.begin(listener, 3)
        telling = await client.begin(sender, str(hearing.run_key))
        assert await hearing.result(timeout=30) == ["n0", "n1", "n2"]
        await telling.result(timeout=30)
    memos = await rows(database, "SELECT fn, output #>> '{}' FROM durable.steps WHERE kind = 'publish' ORDER BY seq")
    sent = await rows(database, "SELECT event_id::text, sender_run_id::text FROM durable.events ORDER BY event_id")
    assert memos == [("note", event_id) for event_id, _ in sent]
    assert {sender_id for _, sender_id in sent} == {telling.run_key.run_id}


async def test_a_run_is_named_by_its_workflow_and_key(database: str) -> None:
    async with running(database, listener, key_sender) as client:
        hearing = await client.begin(listener, 2, key="k")
        await (await client.begin(key_sender, "k")).result(timeout=30)
        assert await hearing.result(timeout=30) == ["by workflow", "by name"]


async def test_of_several_runs_with_a_key_the_newest_one_gets_the_event(database: str) -> None:
    async with running(database, listener, key_sender) as client:
        first = await client.begin(listener, 0, key="k")
        await first.result(timeout=30)
        newest = await client.begin(listener, 2, key="k", if_ended="begin_anew")
        await client.begin(key_sender, "k")
        assert await newest.result(timeout=30) == ["by workflow", "by name"]


async def test_a_key_that_was_begun_under_fewer_shard_values_is_found(database: str) -> None:
    async with AsyncClient(database) as client:
        keys = [f"k{number}" for number in range(8)]
        hearing = [await client.begin(listener, 2, key=key) for key in keys]
    migrate(database, shard_count=5)
    async with running(database, listener, key_sender) as client:
        later = [await client.begin(listener, 2, key=f"later {key}") for key in keys]
        for key in keys:
            await client.begin(key_sender, key)
            await client.begin(key_sender, f"later {key}")
        for begun in (*hearing, *later):
            assert await client.handle(begun.run_key, listener).result(timeout=60) == ["by workflow", "by name"]
    assert {run.run_key.workflow_name_shard for run in hearing} == {"listener_0"}
    assert len({run.run_key.workflow_name_shard for run in later}) > 1


async def test_an_event_wakes_a_run_of_another_worker_at_once(database: str) -> None:
    migrate(database, shard_count=4)
    async with AsyncClient(database) as client, Worker(database, [listener]), Worker(database, [sender]):
        hearing = [await client.begin(listener, 3) for _ in range(4)]
        for handle in hearing:
            await reached(client, handle.run_key, "waiting_event")
            await client.begin(sender, str(handle.run_key))
        for handle in hearing:
            assert await handle.result(timeout=30) == ["n0", "n1", "n2"]


@workflow
async def parent(ctx: Context) -> list[str]:
    child = await ctx.start_child("child", listener, 1)
    await ctx.publish_event("to child", child, note, "from parent")
    await ctx.publish_event("to me", ctx.run_key, "note", "from me")
    return [*await child.result(), await ctx.wait_for_event("mine", note)]


async def test_a_child_that_has_just_begun_and_the_run_itself_can_be_told(database: str) -> None:
    async with running(database, parent, listener) as client:
        assert await (await client.begin(parent)).result(timeout=30) == ["from parent", "from me"]


async def test_two_runs_that_talk_to_each_other_never_wait_for_each_other(database: str) -> None:
    rounds = 20

    @workflow
    async def player(ctx: Context, other_key: str) -> int:
        other = ("player", other_key)
        for number in range(rounds):
            await ctx.publish_event(f"serve-{number}", other, "ball", number)
            assert await ctx.wait_for_event(f"ball-{number}", "ball") == number
        return rounds

    migrate(database, shard_count=4)
    async with AsyncClient(database) as client, Worker(database, [player]), Worker(database, [player]):
        async with await psycopg.AsyncConnection.connect(database) as tx:  # neither may speak before the other is there
            first = await client.begin_tx(tx, player, "b", key="a")
            second = await client.begin_tx(tx, player, "a", key="b")
        for run_key in (first, second):
            assert await client.handle(run_key, player).result(timeout=60) == rounds


async def test_what_nobody_can_read_is_logged_and_the_run_goes_on(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "durable.worker")
    async with running(database, listener, sender, key_sender) as client:
        ended = await client.begin(listener, 0)
        await ended.result(timeout=30)
        unknown = RunKey("listener_0", "01940000-0000-7000-8000-0123456789ab")
        for target in (ended.run_key, unknown):
            await (await client.begin(sender, str(target))).result(timeout=30)
        await (await client.begin(key_sender, "nobody")).result(timeout=30)
    said = [record.getMessage() for record in caplog.records if "has sent" in record.getMessage()]
    assert len(said) == 8
    assert f"event 'note' to run {unknown}" in said[3]
    assert "of workflow 'listener' with key 'nobody'" in said[-1]
    assert await rows(database, "SELECT event_id FROM durable.events") == []


async def test_a_retry_of_the_run_sends_nothing_again(database: str) -> None:
    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def stumbling(ctx: Context, target: str) -> None:
        await ctx.publish_event("send", target, note, "once")
        if not ctx.is_last_attempt:
            raise ValueError("again")

    async with running(database, stumbling, listener) as client:
        hearing = await client.begin(listener, 1)
        await (await client.begin(stumbling, str(hearing.run_key))).result(timeout=30)
        assert await hearing.result(timeout=30) == ["once"]
    assert await rows(database, "SELECT count(*) FROM durable.events WHERE kind = 'event'") == [(1,)]


async def test_each_chapter_sends_anew(database: str) -> None:
    @workflow
    async def chapters(ctx: Context, target: str) -> None:
        await ctx.publish_event("send", target, note, f"chapter {ctx.chapter}")
        if ctx.chapter < 3:
            await ctx.continue_as_new(target)

    async with running(database, chapters, listener) as client:
        hearing = await client.begin(listener, 3)
        await client.begin(chapters, str(hearing.run_key))
        assert await hearing.result(timeout=30) == ["chapter 1", "chapter 2", "chapter 3"]


async def test_what_was_sent_before_a_cancel_arrives_and_a_cleanup_may_send_more(database: str) -> None:
    @workflow
    async def leaving(ctx: Context, target: str) -> None:
        await ctx.publish_event("hello", target, note, "hello")
        try:
            await ctx.wait_for_event("never", "never")
        finally:
            await ctx.publish_event("good bye", target, note, "good bye")

    async with running(database, leaving, listener) as client:
        hearing = await client.begin(listener, 2)
        handle = await client.begin(leaving, str(hearing.run_key))
        await reached(client, handle.run_key, "waiting_event")
        await handle.cancel()
        assert await hearing.result(timeout=30) == ["hello", "good bye"]
        assert (await handle.info()).status == "cancelled"


async def test_a_payload_that_does_not_fit_is_refused_before_anything_is_stored(database: str) -> None:
    target = "listener_0:01940000-0000-7000-8000-0123456789ab"

    @workflow
    async def careless(ctx: Context) -> list[str]:
        said = []
        attempts: list[tuple[Any, Any, Any]] = [
            (target, paid, {"order": "a", "cents": "many"}),
            (target, paid, None),
            (target, "paid", object()),
            ("nowhere", "paid", None),
            (("listener", ""), "paid", None),
            (("listener",), "paid", None),
            (target, "", None),
            (target, 7, None),
        ]
        for run, event, payload in attempts:
            try:
                await ctx.publish_event("send", run, event, payload)
            except (SerializationError, InvalidArgument) as error:
                said.append(str(error))
        try:
            await ctx.publish_event("twice", target, done)
            await ctx.publish_event("twice", target, done)
        except DuplicateKey as error:
            said.append(str(error))
        return said

    async with running(database, careless) as client:
        said = await (await client.begin(careless)).result(timeout=30)
    assert len(said) == 9
    assert "does not fit the type that the event declares" in said[0]
    assert "run must be" in said[3]
    assert "event must be" in said[6]
    assert "publish_event 'twice' of 'done'" in said[8]
    assert await rows(database, "SELECT step_key FROM durable.steps") == [("twice",)]


class Reversed(JsonCodec):
    """Writes text backwards."""

    def encode(self, value: object, what: str) -> str:
        return super().encode(super().encode(value, what)[::-1], what)

    def decode(self, text: str, type: Any, what: str) -> Any:
        return super().decode(super().decode(text, str, what)[::-1], type, what)


class Bound(JsonCodec):
    """Reads only what was written for the same place."""

    def __init__(self, place: Place | None = None) -> None:
        super().__init__()
        self._place = str(place)

    def bound_to(self, place: Place) -> Bound:
        return Bound(place)

    def encode(self, value: object, what: str) -> str:
        return super().encode({"at": self._place, "value": value}, what)

    def decode(self, text: str, type: Any, what: str) -> Any:
        read = super().decode(text, dict[str, Any], what)
        assert read["at"] == self._place
        return read["value"]


async def test_the_payload_is_encoded_for_the_run_that_reads_it(database: str) -> None:
    @workflow(codec=Reversed())
    async def backwards(ctx: Context) -> str:
        return await ctx.wait_for_event("note", note)

    @workflow(codec=Bound())
    async def bound(ctx: Context) -> str:
        return await ctx.wait_for_event("note", note)

    @workflow
    async def teller(ctx: Context) -> list[str]:
        first: ChildHandle[str] = await ctx.start_child("first", backwards)
        second: ChildHandle[str] = await ctx.start_child("second", bound)
        await ctx.publish_event("to first", first, note, "one")
        await ctx.publish_event("to second", second, note, "two")
        await ctx.publish_event("to key", (backwards, "k"), note, "three")
        try:
            await ctx.publish_event("to bound key", (bound, "k"), note, "four")
        except InvalidArgument as error:
            return [await first.result(), await second.result(), str(error)]
        raise AssertionError

    async with running(database, backwards, bound, teller) as client:
        keyed = await client.begin(backwards, key="k")
        one, two, error = await (await client.begin(teller)).result(timeout=30)
        assert await keyed.result(timeout=30) == "three"
    assert (one, two) == ("one", "two")
    assert "because the codec binds the payload" in error


async def test_nothing_is_sent_by_a_worker_that_has_lost_the_run(database: str) -> None:
    reached_here, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached_here.set()
        await gate.wait()

    @workflow
    async def slow(ctx: Context, target: str) -> None:
        await ctx.execute("wait", wait)
        await ctx.publish_event("send", target, note, "late")

    async with AsyncClient(database) as client:
        hearing = await client.begin(listener, 1)
        async with Worker(database, [slow]) as worker:
            await client.begin(slow, str(hearing.run_key))
            await reached_here.wait()
            await rows(database, "UPDATE durable.runs SET epoch = epoch + 1 WHERE workflow_name = 'slow'")
            gate.set()
            async with asyncio.timeout(30):
                while worker.status().active_runs:
                    await asyncio.sleep(0.01)
    assert await rows(database, "SELECT event_id FROM durable.events") == []
