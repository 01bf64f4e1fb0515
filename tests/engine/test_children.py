"""Child runs: what a parent gets, when it wakes, and what becomes of either when the other ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest

from durable import (
    AsyncClient,
    AsyncHandle,
    Context,
    InvalidArgument,
    JsonCodec,
    RunCancelled,
    RunFailed,
    RunKey,
    RunRetryPolicy,
    Terminal,
    Worker,
    Workflow,
    workflow,
)
from durable.migrate import migrate


class Plant(msgspec.Struct):
    height: int


@workflow
async def grow(ctx: Context, plant: Plant) -> Plant:
    return Plant(plant.height + 1)


@workflow
async def linger(ctx: Context) -> str:
    return str(await ctx.wait_for_event("wait", "go", str))


@workflow
async def wilt(ctx: Context, why: str) -> None:
    raise ValueError(why)


@workflow
async def wait_for_lingering(ctx: Context) -> str:
    return await ctx.run_child("child", linger)


@workflow(concurrency=1)
async def descend(ctx: Context, depth: int) -> int:
    if depth == 0:
        return 0
    below: int = await ctx.run_child("deeper", descend, depth - 1)  # its own type is not known in it yet
    return 1 + below


@workflow
async def plantation(ctx: Context, count: int) -> int:
    plants = await asyncio.gather(*(ctx.run_child(f"plant {i}", grow, Plant(i)) for i in range(count)))
    return sum(plant.height for plant in plants)


async def query(dsn: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode(), parameters)
        return await cursor.fetchall() if cursor.description else []


async def until(condition: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async with asyncio.timeout(20):
        while not (answer := await condition()):
            await asyncio.sleep(0.01)
    return answer


async def until_status(handle: AsyncHandle[Any], status: str) -> None:
    async def is_reached() -> bool:
        return (await handle.status()).status == status

    await until(is_reached)


async def children_of(dsn: str, handle: AsyncHandle[Any]) -> list[tuple[RunKey, str]]:
    found = await query(
        dsn,
        "SELECT workflow_name_shard, run_id::text, status FROM durable.runs"
        " WHERE parent_run_id = %s AND parent_shard = %s ORDER BY run_id",
        handle.run_key.run_id,
        handle.run_key.workflow_name_shard,
    )
    return [(RunKey(shard_value, run_id), status) for shard_value, run_id, status in found]


async def only_child(dsn: str, handle: AsyncHandle[Any], *statuses: str) -> RunKey:
    """Once it has one of the statuses."""

    async def has_it() -> RunKey | None:
        children = await children_of(dsn, handle)
        return children[0][0] if children and children[0][1] in statuses else None

    found: RunKey = await until(has_it)
    return found


# what a parent gets


async def test_the_output_of_a_child_comes_back_in_its_type(database: str) -> None:
    @workflow
    async def plant_two(ctx: Context) -> list[Any]:
        first = await ctx.run_child("first", grow, Plant(1))
        handle = await ctx.start_child("second", grow, Plant(2))
        await ctx.sleep("meanwhile", 0.05)
        return [first.height, (await handle.result()).height, (await handle.result()).height, str(handle.run_key)]

    async with AsyncClient(database) as client, Worker(database, [plant_two, grow]):
        handle = await client.begin(plant_two)
        *heights, second = await handle.result(timeout=20)
        assert heights == [2, 3, 3]
        assert await client.get_run_output(RunKey.parse(second), Plant) == Plant(3)


async def test_a_parent_that_waits_holds_no_place(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [descend]):
        assert await (await client.begin(descend, 5)).result(timeout=30) == 5


async def test_a_hundred_children_at_once_over_several_shards(bare_database: str) -> None:
    migrate(bare_database, shard_count=4)
    async with AsyncClient(bare_database) as client, Worker(bare_database, [plantation, grow]):
        handle = await client.begin(plantation, 100)
        assert await handle.result(timeout=30) == sum(range(1, 101))
        children = await children_of(bare_database, handle)
    assert [status for _, status in children] == 100 * ["completed"]
    assert len({run_key.workflow_name_shard for run_key, _ in children}) == 4


async def test_parent_and_children_may_have_different_workers(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [plantation]):
        handle = await client.begin(plantation, 3)
        await until_status(handle, "waiting_event")
        async with Worker(database, [grow]):
            assert await handle.result(timeout=20) == 6


async def test_a_child_is_waited_for_through_a_restart_of_every_worker(database: str) -> None:
    async with AsyncClient(database) as client:
        async with Worker(database, [wait_for_lingering, linger]):
            handle = await client.begin(wait_for_lingering)
            child = await only_child(database, handle, "waiting_event")
        await client.publish_event(child, "go", "on")
        async with Worker(database, [linger]):
            assert await client.handle(child, linger).result(timeout=20) == "on"
        async with Worker(database, [wait_for_lingering]):
            assert await handle.result(timeout=20) == "on"
        assert len(await children_of(database, handle)) == 1


async def test_an_event_is_not_taken_for_the_end_of_a_child(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [wait_for_lingering, linger]):
        handle = await client.begin(wait_for_lingering)
        child = await only_child(database, handle, "waiting_event")
        await until_status(handle, "waiting_event")
        await handle.publish(child.run_id, "forged")
        await client.publish_event(child, "go", "genuine")
        assert await handle.result(timeout=20) == "genuine"


class Reversing(JsonCodec):
    """Unreadable for others."""

    def encode(self, value: object, what: str) -> str:
        return msgspec.json.encode(super().encode(value, what)[::-1]).decode()

    def decode(self, text: str, type: Any, what: str) -> Any:
        return super().decode(msgspec.json.decode(text, type=str)[::-1], type, what)


@pytest.mark.parametrize("encodes", ["parent", "child", "both"])
async def test_each_run_keeps_to_the_codec_of_its_own_workflow(database: str, encodes: str) -> None:
    of_child = Reversing() if encodes != "parent" else None
    child: Workflow[Plant, Plant] = workflow(name="child", codec=of_child)(grow.function)

    @workflow(codec=Reversing() if encodes != "child" else None)
    async def parent(ctx: Context) -> int:
        return (await ctx.run_child("child", child, Plant(1))).height

    async with AsyncClient(database) as client, Worker(database, [parent, child]):
        assert await (await client.begin(parent)).result(timeout=20) == 2


# every end wakes the parent


async def end_by_failure(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.publish("go", "fail")


async def end_by_cancel(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.cancel("not today")


async def end_by_termination(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.terminate("at once")


async def end_unrecordably(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.publish("go", "spoil")


async def end_by_itself(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.publish("go", "wait")


async def end_in_a_loop(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.publish("go", "break")


class Faulty(JsonCodec):
    """Writes what no database takes, or breaks the engine."""

    def encode(self, value: object, what: str) -> str:
        if value == "unrecordable":
            return "this is no JSON"
        if isinstance(value, float):
            raise RuntimeError("a codec with a defect")
        return super().encode(value, what)


@workflow(codec=Faulty(), timeout=3)
async def fated(ctx: Context) -> str:
    match str(await ctx.wait_for_event("fate", "go", str)):
        case "fail":
            raise ValueError("as it must")
        case "wait":
            await ctx.sleep("too long", 3600)
        case "break":
            await ctx.random("never")
    return "unrecordable"


@workflow
async def watch_fate(ctx: Context) -> list[str]:
    try:
        await ctx.run_child("child", fated)
    except RunFailed as error:
        return ["failed", error.error.type, str(error.run_key)]
    except RunCancelled as error:
        return ["cancelled", error.reason, str(error.run_key)]
    return []


@pytest.mark.parametrize(
    ("end", "seen"),
    [
        (end_by_failure, ["failed", "ValueError"]),
        (end_by_cancel, ["cancelled", "not today"]),
        (end_by_termination, ["cancelled", "at once"]),
        (end_unrecordably, ["failed", "InvalidTextRepresentation"]),
        (end_by_itself, ["failed", "RunTimeout"]),
        (end_in_a_loop, ["failed", "CrashLoop"]),
    ],
)
async def test_every_end_of_a_child_wakes_its_parent(database: str, end: Any, seen: list[str]) -> None:
    async with AsyncClient(database) as client, Worker(database, [fated, watch_fate], max_strikes=1):
        handle = await client.begin(watch_fate)
        child = await only_child(database, handle, "waiting_event")
        await until_status(handle, "waiting_event")
        await end(client, client.handle(child, fated))
        assert await handle.result(timeout=20) == [*seen, str(child)]


@pytest.mark.parametrize("ends", ["cancel_run", "terminate_run"])
async def test_a_child_that_ends_unstarted_wakes_its_parent(database: str, ends: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [watch_fate]):
        handle = await client.begin(watch_fate)
        child = await only_child(database, handle, "queued")
        await getattr(client, ends)(child, "no need")
        async with Worker(database, [fated]):
            assert await handle.result(timeout=20) == ["cancelled", "no need", str(child)]


async def test_a_failure_of_a_child_that_nobody_catches_fails_the_parent(database: str) -> None:
    @workflow
    async def careless(ctx: Context) -> None:
        await ctx.run_child("child", wilt, "drought")

    async with AsyncClient(database) as client, Worker(database, [careless, wilt]):
        with pytest.raises(RunFailed, match="drought") as raised:
            await (await client.begin(careless)).result(timeout=20)
    assert raised.value.error.type == "RunFailed"


# cancels


async def test_a_cancel_of_the_parent_cancels_the_children_it_runs_and_not_those_it_started(database: str) -> None:
    @workflow
    async def parent(ctx: Context) -> None:
        await ctx.start_child("started", linger)
        try:
            await ctx.run_child("run", linger)
        finally:
            await ctx.sleep("tidy up", 0.01)

    async with AsyncClient(database) as client, Worker(database, [parent, linger]):
        handle = await client.begin(parent)

        async def both_wait() -> bool:
            return [status for _, status in await children_of(database, handle)] == 2 * ["waiting_event"]

        await until(both_wait)
        await handle.cancel("enough")
        with pytest.raises(RunCancelled, match="enough"):
            await handle.result(timeout=20)
        (started, _), (run, _) = await children_of(database, handle)
        with pytest.raises(RunCancelled, match=f"its parent {handle.run_key} waits for it no longer"):
            await client.handle(run, linger).result(timeout=20)
        await client.publish_event(started, "go", "on")
        assert await client.handle(started, linger).result(timeout=20) == "on"


async def test_a_terminated_parent_leaves_its_children_alone(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [wait_for_lingering, linger]):
        handle = await client.begin(wait_for_lingering)
        child = await only_child(database, handle, "waiting_event")
        await until_status(handle, "waiting_event")
        await handle.terminate()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
        await client.publish_event(child, "go", "on")
        assert await client.handle(child, linger).result(timeout=20) == "on"


async def test_a_child_of_a_group_is_cancelled_when_its_sibling_fails(database: str) -> None:
    @workflow
    async def group_of_two(ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.run_child("lingers", linger))
            group.create_task(ctx.run_child("wilts", wilt, "drought"))

    async with AsyncClient(database) as client, Worker(database, [group_of_two, linger, wilt]):
        handle = await client.begin(group_of_two)
        with pytest.raises(RunFailed, match="ExceptionGroup"):
            await handle.result(timeout=20)
        lingering = next(key for key, _ in await children_of(database, handle) if "linger" in str(key))
        with pytest.raises(RunCancelled):
            await client.handle(lingering, linger).result(timeout=20)


# retries


def counted(fails: int) -> tuple[Workflow[str, int], list[str]]:
    """A workflow that fails at first, and whom it ran for."""
    calls: list[str] = []

    @workflow
    async def flaky(ctx: Context, name: str) -> int:
        calls.append(name)
        if name == "bad" and calls.count(name) <= fails:
            raise Terminal("not yet")
        return len(name)

    return flaky, calls


@pytest.mark.parametrize("is_asked_for", [True, False])
async def test_a_retry_begins_failed_children_anew_and_keeps_the_others(database: str, *, is_asked_for: bool) -> None:
    flaky, calls = counted(2)
    policy = RunRetryPolicy() if is_asked_for else RunRetryPolicy(max_attempts=3)

    @workflow(retry=policy)
    async def parent(ctx: Context) -> list[Any]:
        good = await ctx.run_child("good", flaky, "good")
        bad = await ctx.start_child("bad", flaky, "bad")
        drawn = await ctx.random("between")
        return [good, drawn, await bad.result()]

    async with AsyncClient(database) as client, Worker(database, [parent, flaky]):
        handle = await client.begin(parent)
        for _ in range(2 if is_asked_for else 0):
            with pytest.raises(RunFailed, match="not yet"):
                await handle.result(timeout=20)
            await handle.retry()
            await until(lambda: _has_left(handle, "failed"))
        good, _, bad = await handle.result(timeout=20)
        assert (good, bad) == (4, 3)
        assert sorted(calls) == ["bad", "bad", "bad", "good"]
        assert sorted(status for _, status in await children_of(database, handle)) == 2 * ["completed"] + 2 * ["failed"]


async def _has_left(handle: AsyncHandle[Any], status: str) -> bool:
    return (await handle.status()).status != status


async def test_a_retry_begins_anew_a_child_whose_failure_nobody_has_seen(database: str) -> None:
    flaky, calls = counted(1)
    failing = [True]

    @workflow
    async def parent(ctx: Context) -> int:
        child = await ctx.start_child("child", flaky, "bad")
        await ctx.wait_for_event("wait", "go")
        if failing:
            raise ValueError("for another reason")
        return await child.result()

    async with AsyncClient(database) as client, Worker(database, [parent, flaky]):
        handle = await client.begin(parent)
        await only_child(database, handle, "failed")
        await handle.publish("go")
        with pytest.raises(RunFailed, match="for another reason"):
            await handle.result(timeout=20)
        failing.clear()
        await handle.retry()
        await until(lambda: _has_left(handle, "failed"))
        assert await handle.result(timeout=20) == 3
    assert calls == ["bad", "bad"]


async def test_a_retry_of_a_cancelled_parent_begins_the_cancelled_child_anew(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [wait_for_lingering]):
        handle = await client.begin(wait_for_lingering)
        first = await only_child(database, handle, "queued")
        await until_status(handle, "waiting_event")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
        await handle.retry()  # nobody has looked at the child yet

        async def second() -> RunKey | None:
            return next((key for key, _ in await children_of(database, handle) if key != first), None)

        child = await until(second)
        async with Worker(database, [linger]):
            await client.publish_event(child, "go", "on")
            assert await handle.result(timeout=20) == "on"
            with pytest.raises(RunCancelled):
                await client.handle(first, linger).result(timeout=20)


async def test_of_a_retried_child_the_parent_sees_the_last_end(database: str) -> None:
    flaky, _ = counted(1)

    @workflow
    async def parent(ctx: Context) -> int:
        child = await ctx.start_child("child", flaky, "bad")
        await ctx.wait_for_event("wait", "go")
        return await child.result()

    async with AsyncClient(database) as client, Worker(database, [parent, flaky]):
        handle = await client.begin(parent)
        child = await only_child(database, handle, "failed")
        await client.retry_run(child)
        await only_child(database, handle, "completed")
        await handle.publish("go")
        assert await handle.result(timeout=20) == 3


# what is refused


@workflow
async def wrong_type(ctx: Context) -> None:
    await ctx.run_child("child", grow, "a tree")  # type: ignore[misc]


@workflow
async def unwanted_input(ctx: Context) -> None:
    await ctx.run_child("child", linger, 1)  # type: ignore[misc]


@workflow
async def no_workflow(ctx: Context) -> None:
    await ctx.start_child("child", print)  # type: ignore[call-overload]


@workflow
async def unstorable(ctx: Context) -> None:
    await ctx.run_child("child", grow, object())  # type: ignore[misc]


@workflow
async def long_key(ctx: Context) -> None:
    await ctx.start_child("ä" * 97, linger)


@pytest.mark.parametrize(
    ("parent", "error"),
    [
        (wrong_type, "InvalidArgument"),
        (unwanted_input, "InvalidArgument"),
        (no_workflow, "InvalidArgument"),
        (unstorable, "SerializationError"),
        (long_key, "InvalidArgument"),
    ],
)
async def test_bad_input_begins_no_child(database: str, parent: Workflow[None, None], error: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [parent]):
        handle = await client.begin(parent)
        with pytest.raises(RunFailed) as raised:
            await handle.result(timeout=20)
        assert raised.value.error.type == error
        assert await children_of(database, handle) == []


async def test_an_input_that_no_database_takes_fails_the_parent_and_nobody_else(database: str) -> None:
    child = workflow(name="child", codec=Faulty())(wilt.function)

    @workflow
    async def parent(ctx: Context, input: str) -> str:
        await ctx.start_child("child", child, input)
        return input

    async with AsyncClient(database) as client, Worker(database, [parent]):
        inputs = ["fine", "unrecordable", "fine too"]
        handles = [client.handle(key, parent) for key in await client.begin_many(parent, inputs)]
        assert [await handles[i].result(timeout=20) for i in (0, 2)] == ["fine", "fine too"]
        with pytest.raises((RunFailed, InvalidArgument), match="InvalidTextRepresentation|JSON"):
            await handles[1].result(timeout=20)
        assert [len(await children_of(database, handle)) for handle in handles] == [1, 0, 1]


async def test_a_parent_that_has_lost_its_run_begins_no_child(database: str) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reached.set()
        await go_on.wait()

    @workflow
    async def parent(ctx: Context) -> None:
        await ctx.execute("hold", hold)
        await ctx.run_child("child", linger)

    async with AsyncClient(database) as client, Worker(database, [parent]) as worker:
        handle = await client.begin(parent)
        await reached.wait()
        await query(
            database,
            "UPDATE durable.runs"
            " SET status = 'sleeping', next_wake_at = now() + %s, worker_id = NULL, epoch = epoch + 1",
            timedelta(days=1),
        )
        go_on.set()

        async def has_given_up() -> bool:
            return worker.status().active_runs == 0

        await until(has_given_up)
        assert await children_of(database, handle) == []
