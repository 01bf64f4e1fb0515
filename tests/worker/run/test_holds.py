"""A cancel of a parent waits for the clean-up of the children that it awaits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import (
    AsyncClient,
    AsyncHandle,
    Context,
    InvalidArgument,
    RunCancelled,
    RunFailed,
    RunKey,
    Worker,
    workflow,
)
from durable.admin.migration import migrate
from tests.watching import reached, rows, until

FAR = 3_000_000.0
seen: list[str] = []
gates: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()
    gates.clear()


def gate(name: str) -> asyncio.Event:
    return gates.setdefault(name, asyncio.Event())


async def clean(name: str) -> None:
    seen.append(f"{name} is cleaning")
    await gate(name).wait()
    seen.append(f"{name} is clean")


@workflow
async def child(ctx: Context, name: str) -> str:
    seen.append(f"{name} began")
    try:
        await ctx.wait_for_event("w", "finish")
    except asyncio.CancelledError:
        await ctx.execute("clean", clean, name)
        raise
    return name


@workflow
async def nesting(ctx: Context, name: str) -> str:
    try:
        return await ctx.run_child("inner", child, f"{name} inner")
    finally:
        seen.append(f"{name} goes on")


@workflow
async def parent(ctx: Context, how: str) -> None:
    try:
        await awaiting(ctx, how)
    finally:
        seen.append("parent goes on")


async def awaiting(ctx: Context, how: str) -> None:
    match how:
        case "gather":
            await asyncio.gather(ctx.run_child("a", child, "a"), ctx.run_child("b", child, "b"))
        case "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.run_child("a", child, "a"))
                group.create_task(ctx.run_child("b", child, "b"))
        case "nested":
            await ctx.run_child("a", nesting, "a")
        case "beside a due sleep":
            await asyncio.gather(ctx.run_child("a", child, "a"), ctx.sleep("short", 0.2))
        case "abandoned":
            await ctx.run_child("a", child, "a", abandon=True)
        case _:
            await ctx.run_child("a", child, "a")


async def begin(client: AsyncClient, how: str, *names: str, **options: Any) -> AsyncHandle[None]:
    handle = await client.begin(parent, how, **options)
    await until(lambda: all(f"{name} began" in seen for name in names))
    await reached(client, handle.run_key, "waiting_event")
    return handle


async def is_cleaning(*names: str) -> None:
    await until(lambda: all(f"{name} is cleaning" in seen for name in names))


@pytest.mark.parametrize(
    ("how", "names"),
    [("alone", ["a"]), ("gather", ["a", "b"]), ("group", ["a", "b"]), ("nested", ["a inner"])],
)
async def test_the_code_of_the_parent_goes_on_once_all_children_are_clean(
    bare_database: str, how: str, names: list[str]
) -> None:
    migrate(bare_database, shard_count=3)
    async with AsyncClient(bare_database) as client, Worker(bare_database, [parent, nesting, child]):
        handle = await begin(client, how, *names)
        await handle.cancel("enough")
        await is_cleaning(*names)
        for name in names:
            await reached(client, handle.run_key, "waiting_event")
            assert "parent goes on" not in seen
            gate(name).set()
        with pytest.raises(RunCancelled, match="enough"):
            await handle.result(timeout=20)
    went_on = ["a goes on"] if how == "nested" else []
    assert seen[-1 - len(went_on) :] == [*went_on, "parent goes on"]
    assert all(f"{name} is clean" in seen for name in names)
    ended = await rows(bare_database, "SELECT DISTINCT status FROM durable.runs")
    assert ended == [("cancelled",)]


async def test_a_deadline_is_held_too_and_wakes_nothing_again_and_again(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [parent, child]):
        handle = await client.begin(parent, "beside a due sleep", timeout=0.1)
        await is_cleaning("a")
        await reached(client, handle.run_key, "waiting_event")
        (before,) = await rows(database, "SELECT epoch FROM durable.runs WHERE workflow_name = 'parent'")
        late = "SELECT epoch FROM durable.runs WHERE clock_timestamp() > deadline_at + interval '0.5 s'"
        await until(lambda: has(database, late, [before]))
        assert "parent goes on" not in seen
        gate("a").set()
        with pytest.raises(RunFailed, match="RunTimeout"):
            await handle.result(timeout=20)
    assert seen[-2:] == ["a is clean", "parent goes on"]


async def has(dsn: str, query: str, expected: list[tuple[Any, ...]], *params: Any) -> bool:
    return await rows(dsn, query, *params) == expected


async def test_a_hold_outlives_its_worker(database: str) -> None:
    async with AsyncClient(database) as client:
        async with Worker(database, [parent]):
            async with Worker(database, [child]):
                handle = await begin(client, "alone", "a")
            await handle.cancel("enough")
            requested = "SELECT count(*) FROM durable.events WHERE kind = 'cancel'"
            await until(lambda: has(database, requested, [(2,)]))
            await reached(client, handle.run_key, "waiting_event")
        gate("a").set()
        async with Worker(database, [parent, child]):
            with pytest.raises(RunCancelled, match="enough"):
                await handle.result(timeout=20)
    assert seen[-3:] == ["a is cleaning", "a is clean", "parent goes on"]


async def test_a_deadline_that_is_held_is_still_a_deadline_for_the_next_worker(database: str) -> None:
    async with AsyncClient(database) as client:
        async with Worker(database, [parent]):
            async with Worker(database, [child]):
                handle = await client.begin(parent, "alone", timeout=1)
                await until(lambda: "a began" in seen)
            requested = "SELECT count(*) FROM durable.events WHERE kind = 'cancel'"
            await until(lambda: has(database, requested, [(1,)]))
            await reached(client, handle.run_key, "waiting_event")
        gate("a").set()
        async with Worker(database, [child]):
            await until(lambda: "a is clean" in seen)
        async with Worker(database, [parent]):
            with pytest.raises(RunFailed, match="RunTimeout"):
                await handle.result(timeout=20)
    assert seen[-1] == "parent goes on"


async def test_a_hold_holds_no_place(database: str) -> None:
    @workflow(concurrency=1)
    async def deep(ctx: Context, depth: int) -> None:
        try:
            if depth == 0:
                await ctx.wait_for_event("w", "never")
            else:
                await ctx.run_child("deeper", deep, depth - 1)
        finally:
            await ctx.execute("note", note, f"level {depth}")

    async with AsyncClient(database) as client, Worker(database, [deep]):
        handle = await client.begin(deep, 3)
        waiting = "SELECT count(*) FROM durable.runs WHERE status = 'waiting_event'"
        await until(lambda: has(database, waiting, [(4,)]))
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
    assert seen == ["level 0", "level 1", "level 2", "level 3"]


async def note(text: str) -> None:
    seen.append(text)


async def test_a_child_that_is_abandoned_is_cancelled_and_not_waited_for(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [parent, child]):
        handle = await begin(client, "abandoned", "a")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
        await is_cleaning("a")
        assert "a is clean" not in seen
        gate("a").set()
        await until(lambda: "a is clean" in seen)


async def test_a_termination_ends_a_hold(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [parent, child]):
        handle = await begin(client, "alone", "a")
        await handle.cancel()
        await is_cleaning("a")
        await reached(client, handle.run_key, "waiting_event")
        await handle.cancel("again")  # changes nothing
        unrouted = "SELECT count(*) FROM durable.events WHERE routed_at IS NULL"
        await until(lambda: has(database, unrouted, [(0,)]))
        await reached(client, handle.run_key, "waiting_event")
        await handle.terminate("now")
        with pytest.raises(RunCancelled, match="now"):
            await handle.result(timeout=20)
        assert "parent goes on" not in seen
        gate("a").set()
        await until(lambda: "a is clean" in seen)


async def test_a_child_that_never_started_is_not_waited_for_long(database: str) -> None:
    @workflow
    async def patient(ctx: Context) -> None:
        try:
            await ctx.run_child("a", child, "a", delay=FAR)
        finally:
            seen.append("parent goes on")

    async with AsyncClient(database) as client, Worker(database, [patient, child]):
        handle = await client.begin(patient)
        await reached(client, handle.run_key, "waiting_event")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
    assert seen == ["parent goes on"]


async def test_a_child_that_completes_meanwhile_changes_nothing(database: str) -> None:
    @workflow
    async def stubborn(ctx: Context, name: str) -> str:
        try:
            await ctx.wait_for_event("w", "finish")
        except asyncio.CancelledError:
            await ctx.execute("clean", clean, name)
        return "done all the same"

    @workflow
    async def asking(ctx: Context) -> None:
        try:
            await ctx.run_child("a", stubborn, "a")
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async with AsyncClient(database) as client, Worker(database, [asking, stubborn]):
        handle = await client.begin(asking)
        await until(lambda: has(database, "SELECT count(*) FROM durable.runs WHERE status = 'waiting_event'", [(2,)]))
        await handle.cancel()
        await is_cleaning("a")
        gate("a").set()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
    assert seen[-1] == "cancelled"


@pytest.mark.parametrize("resident", [True, False])
async def test_steps_under_way_finish_and_are_not_called_again_and_no_other_starts(
    database: str, *, resident: bool
) -> None:
    @workflow
    async def busy(ctx: Context) -> None:
        async def two_steps() -> None:
            await ctx.execute("first", clean, "first")
            await ctx.execute("second", note, "second")

        background = asyncio.create_task(two_steps())  # which the cancel of the run does not reach
        try:
            await ctx.run_child("a", child, "a")
        finally:
            seen.append("parent goes on")
            await background

    async with AsyncClient(database) as client, Worker(database, [busy, child]) as worker:
        handle = await client.begin(busy)
        await until(lambda: "a began" in seen and "first is cleaning" in seen)
        await handle.cancel()
        await is_cleaning("a")
        gate("first").set()
        await reached(client, handle.run_key, "waiting_event")
        assert "second" not in seen
        if not resident:
            assert worker._executions is not None
            parked = worker._executions._resident
            await until(lambda: handle.run_key.run_id in parked)
            asyncio.get_running_loop().call_soon(parked.pop(handle.run_key.run_id).close)
            await handle.cancel("again")  # it is replayed, up to the second step, and holds the cancel again
            again = "SELECT count(*) FROM durable.runs WHERE status = 'waiting_event' AND epoch = 2 AND run_id = %s"
            await until(lambda: has(database, again, [(1,)], handle.run_key.run_id))
            assert "second" not in seen
        gate("a").set()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
    assert seen[-3:] == ["a is clean", "parent goes on", "second"]
    assert seen.count("first is cleaning") == 1


async def test_a_retry_after_a_held_cancel_begins_the_child_from_scratch(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [parent, child]):
        handle = await begin(client, "alone", "a")
        await handle.cancel()
        await is_cleaning("a")
        gate("a").set()
        await reached(client, handle.run_key, "cancelled")
        await client.retry_run(handle.run_key)
        await until(lambda: seen.count("a began") == 2)
        found = "SELECT run_id::text FROM durable.runs WHERE workflow_name = 'child' AND status = 'waiting_event'"
        ((run_id,),) = await until(lambda: rows(database, found))
        await client.publish_event(RunKey("child_0", run_id), "finish")
        await handle.result(timeout=20)


async def test_a_child_of_start_child_is_not_cancelled_with_its_parent(database: str) -> None:
    @workflow
    async def aloof(ctx: Context) -> None:
        handle = await ctx.start_child("a", child, "a")
        await handle.result()

    async with AsyncClient(database) as client, Worker(database, [aloof, child]):
        handle = await client.begin(aloof)
        await until(lambda: has(database, "SELECT count(*) FROM durable.runs WHERE status = 'waiting_event'", [(2,)]))
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
        left = await rows(database, "SELECT status FROM durable.runs WHERE workflow_name = 'child'")
    assert left == [("waiting_event",)]


# handles


async def test_a_handle_cancels_its_child_and_still_gives_its_end(database: str) -> None:
    @workflow
    async def picky(ctx: Context) -> list[str]:
        handle = await ctx.start_child("a", child, "a")
        states: list[str] = [await handle.status("early")]
        await ctx.wait_for_event("go", "go")
        states.append(await handle.status("waiting"))
        await handle.cancel()
        await handle.cancel()
        try:
            await handle.result()
        except RunCancelled as error:
            states.append(str(error.reason))
        return [*states, await handle.status("late")]

    async with AsyncClient(database) as client, Worker(database, [picky, child], max_resident=1):
        handle = await client.begin(picky)
        await until(lambda: has(database, "SELECT count(*) FROM durable.runs WHERE status = 'waiting_event'", [(2,)]))
        gate("a").set()
        await handle.publish_event("go")
        early, waiting, reason, late = await handle.result(timeout=20)
    assert early in ("queued", "running", "waiting_event")
    assert (waiting, late) == ("waiting_event", "cancelled")
    assert reason == f"its parent {handle.run_key} cancels it"
    assert [one for one in seen if one != "a began"] == ["a is cleaning", "a is clean"]
    memos = await rows(
        database,
        "SELECT step_key, kind, fn FROM durable.steps WHERE kind = 'execute' AND run_id = %s ORDER BY seq",
        handle.run_key.run_id,
    )
    assert memos == [(key, "execute", "ChildHandle.status") for key in ("early", "waiting", "late")]


async def test_abandon_must_be_true_or_false(database: str) -> None:
    @workflow
    async def careless(ctx: Context) -> str:
        try:
            await ctx.run_child("a", child, "a", abandon="yes")  # type: ignore[call-overload]
        except InvalidArgument as error:
            return str(error)
        return "it was begun"

    async with AsyncClient(database) as client, Worker(database, [careless]):
        assert "abandon must be True or False" in await (await client.begin(careless)).result(timeout=20)
