"""What a replay gives again; keys used twice, primitives in odd places."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import AsyncClient, AsyncHandle, Call, Context, RetryPolicy, RunFailed, StepFailed, Worker, workflow
from tests.watching import reached, rows, until
from tests.worker.flows import process_all, process_until_there_is_one, running


async def until_completed(worker: Worker, handle: AsyncHandle[Any]) -> None:
    async def has_ended() -> bool:
        await worker.process_one()
        return (await handle.info()).status == "completed"

    await until(has_ended)


async def one() -> int:
    return 1


async def step_twice(ctx: Context) -> None:
    await ctx.execute("key", one)
    await ctx.execute("key", one)


async def step_and_sleep(ctx: Context) -> None:
    await ctx.execute("key", one)
    await ctx.sleep("key", 0)


async def wait_and_sleep(ctx: Context) -> None:
    await ctx.wait_for_event("key", "news", int)
    await ctx.sleep("key", 0)


async def two_draws(ctx: Context) -> None:
    await ctx.random_uuid7("key")
    await ctx.random_uint64("key")


@pytest.mark.parametrize(
    "body", [step_twice, step_and_sleep, wait_and_sleep, two_draws], ids=lambda body: body.__name__
)
async def test_a_key_used_twice_fails_the_run_and_names_both_uses(
    database: str, body: Callable[[Context], Awaitable[None]]
) -> None:
    @workflow
    async def doubled(ctx: Context) -> None:
        await body(ctx)

    async with AsyncClient(database) as client:
        handle = await client.begin(doubled)
        await handle.publish_event("news", 1)
        await process_all(Worker(database, [doubled]))
        with pytest.raises(RunFailed, match="DuplicateKey: the key 'key' is used twice"):
            await handle.result(timeout=0)


@pytest.mark.parametrize("primitive", ["sleep", "wait_for_event", "random", "execute"])
async def test_a_primitive_inside_a_step_is_refused(database: str, primitive: str) -> None:
    @workflow
    async def nested(ctx: Context) -> str:
        async def step() -> None:
            match primitive:
                case "sleep":
                    await ctx.sleep("inner", 1)
                case "wait_for_event":
                    await ctx.wait_for_event("inner", "news")
                case "random":
                    await ctx.random("inner")
                case _:
                    await ctx.execute("inner", one)

        try:
            await ctx.execute(Call("outer", retry=RetryPolicy(max_retries=0)), step)
        except StepFailed as error:
            return error.message
        return "not refused"

    async with AsyncClient(database) as client:
        handle = await client.begin(nested)
        assert await Worker(database, [nested]).process_one()
        assert "inside a step" in await handle.result(timeout=0)
    assert await rows(database, "SELECT step_key FROM durable.steps") == [("outer",)]
    assert await rows(database, "SELECT * FROM durable.waits") == []


async def test_no_broad_except_swallows_a_park(database: str) -> None:
    calls: Counter[str] = Counter()

    async def count() -> int:
        calls["step"] += 1
        return calls["step"]

    @workflow
    async def broad(ctx: Context) -> list[Any]:
        results: list[Any] = []
        for name, call in (
            ("sleep", lambda: ctx.sleep("nap", 0)),
            ("wait", lambda: ctx.wait_for_event("wait", "news", str)),
            ("step", lambda: ctx.execute("step", count)),
        ):
            try:
                results.append([name, await call()])
            except BaseException:
                results.append([name, "swallowed"])
        return results

    worker = Worker(database, [broad])
    async with AsyncClient(database) as client:
        handle = await client.begin(broad)
        assert await worker.process_one()
        await process_until_there_is_one(worker)
        await handle.publish_event("news", "heard")
        await process_all(worker)
        assert await handle.result(timeout=0) == [["sleep", None], ["wait", "heard"], ["step", 1]]
    # What closes a parked machine is thrown into the code too; whatever it does then is neither done nor recorded.
    assert calls == {"step": 1}


async def test_waits_sleeps_and_draws_of_gathered_tasks_replay_in_their_order(database: str) -> None:
    seen: list[list[Any]] = []

    @workflow
    async def gathered(ctx: Context) -> list[Any]:
        async def branch(index: int) -> list[Any]:
            number = await ctx.random_uint64(f"number {index}")
            await ctx.sleep(f"nap {index}", 0.01 * index)
            return [number, await ctx.wait_for_event(f"wait {index}", "news", int), await ctx.execute(f"s{index}", one)]

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch(index)) for index in range(4)]
        seen.append([task.result()[:1] for task in tasks])
        await ctx.sleep("last", 0)
        return [task.result() for task in tasks]

    worker = Worker(database, [gathered])
    async with AsyncClient(database) as client:
        handle = await client.begin(gathered)
        for number in range(4):
            await handle.publish_event("news", number)

        await until_completed(worker, handle)
        result = await handle.result(timeout=0)
    assert sorted(news for _, news, _ in result) == [0, 1, 2, 3]
    assert seen[0] == seen[-1] == [row[:1] for row in result]
    assert await rows(database, "SELECT count(*) FROM durable.steps") == [(8,)]


async def test_an_event_is_the_same_on_replay_and_two_waits_take_two(database: str) -> None:
    seen: list[list[Any]] = []

    @workflow
    async def reading(ctx: Context) -> None:
        seen.append([await ctx.wait_for_event(key, "news", dict[str, float]) for key in ("first", "second")])
        await ctx.sleep("nap", 0)

    worker = Worker(database, [reading])
    async with AsyncClient(database) as client:
        handle = await client.begin(reading)
        for number in (1e16, 0.1):
            await handle.publish_event("news", {"amount": number})
        await until_completed(worker, handle)
    assert len(seen) >= 2
    assert all(each == [{"amount": 1e16}, {"amount": 0.1}] for each in seen)


async def test_10_what_was_drawn_is_stored_and_the_same_on_replay(database: str) -> None:
    drawn: list[tuple[uuid.UUID, int]] = []

    @workflow
    async def drawing(ctx: Context) -> None:
        drawn.append((await ctx.random_uuid7("my_uuid"), await ctx.random_uint64("my_number")))
        await ctx.sleep("nap", 0)

    async with AsyncClient(database) as client:
        await client.begin(drawing)
        worker = Worker(database, [drawing])
        assert await worker.process_one()
        await process_until_there_is_one(worker)

    first, second = drawn
    assert first == second
    assert first[0].version == 7
    stored = await rows(database, "SELECT step_key, output #>> '{}' FROM durable.steps ORDER BY seq")
    assert stored == [("my_uuid", str(first[0])), ("my_number", str(first[1]))]
    assert len(stored[0][1]) == 36


async def test_a_replay_returns_equal_values_without_calling_anything_again(database: str) -> None:
    calls: Counter[str] = Counter()
    seen: list[list[Any]] = []

    async def float_step() -> float:
        calls["float"] += 1
        return 1e16

    def sync_step() -> tuple[int, str]:
        calls["sync"] += 1
        return (1, "a")

    @workflow
    async def replayed(ctx: Context) -> None:
        seen.append(
            [
                await ctx.execute("float", float_step),
                await ctx.execute("sync", sync_step),
                await ctx.random_uuid7("uuid"),
                await ctx.random_uint64("uint"),
                await ctx.random("random"),
                await ctx.now("now"),
            ]
        )
        await ctx.wait_for_event("go", "go")

    async with running(database, replayed) as client:
        handle = await client.begin(replayed)
        await reached(client, handle.run_key, "waiting_event")
    async with running(database, replayed) as client:
        handle = client.handle(handle.run_key, replayed)
        await client.publish_event(handle.run_key, "go")
        await handle.result(timeout=10)

    first, second = seen
    assert first == second
    assert [type(value) for value in first] == [type(value) for value in second]
    assert isinstance(first[2], uuid.UUID)
    assert 0 <= first[3] < 2**64
    assert abs(first[5] - datetime.now(UTC)) < timedelta(minutes=1)
    assert calls == {"float": 1, "sync": 1}


async def test_a_resident_run_goes_on_in_place(database: str) -> None:
    passes: list[int] = []

    @workflow
    async def resident(ctx: Context) -> int:
        passes.append(1)
        for index in range(5):
            await ctx.sleep(f"nap {index}", 0.01)
        return len(passes)

    async with running(database, resident) as client:
        assert await (await client.begin(resident)).result(timeout=10) == 1
