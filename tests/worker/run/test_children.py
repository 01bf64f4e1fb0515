"""Child runs: what a parent gets of them, and what it may not begin."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import AsyncClient, Context, InvalidArgument, RunFailed, RunKey, Worker, Workflow, workflow
from durable.admin.migration import migrate
from tests.worker.run.family import (
    Faulty,
    Plant,
    Reversing,
    children_of,
    grow,
    linger,
    only_child,
    query,
    until,
    until_status,
    wait_for_lingering,
    wilt,
)


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
        await handle.publish_event(child.run_id, "forged")
        await client.publish_event(child, "go", "genuine")
        assert await handle.result(timeout=20) == "genuine"


@pytest.mark.parametrize("encodes", ["parent", "child", "both"])
async def test_each_run_keeps_to_the_codec_of_its_own_workflow(database: str, encodes: str) -> None:
    of_child = Reversing() if encodes != "parent" else None
    child: Workflow[Plant, Plant] = workflow(name="child", codec=of_child)(grow.function)

    @workflow(codec=Reversing() if encodes != "child" else None)
    async def parent(ctx: Context) -> int:
        return (await ctx.run_child("child", child, Plant(1))).height

    async with AsyncClient(database) as client, Worker(database, [parent, child]):
        assert await (await client.begin(parent)).result(timeout=20) == 2


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
