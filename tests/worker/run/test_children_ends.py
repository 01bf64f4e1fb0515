"""Every end of a child wakes its parent; what becomes of either when the other is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import AsyncClient, AsyncHandle, Context, RunCancelled, RunFailed, Worker, workflow
from tests.worker.run.family import (
    Faulty,
    children_of,
    linger,
    only_child,
    until,
    until_status,
    wait_for_lingering,
    wilt,
)

# every end wakes the parent


async def end_by_failure(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.publish_event("go", "fail")


async def end_by_cancel(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.cancel("not today")


async def end_by_termination(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.terminate("at once")


async def end_unrecordably(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.publish_event("go", "spoil")


async def end_by_itself(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.publish_event("go", "wait")


async def end_in_a_loop(client: AsyncClient, child: AsyncHandle[Any]) -> None:
    await child.publish_event("go", "break")


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
        with pytest.raises(RunCancelled, match=f"its parent {handle.run_key} cancels it"):
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
