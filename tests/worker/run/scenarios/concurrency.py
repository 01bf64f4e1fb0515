"""Scenarios of tasks that wait for each other."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import psycopg
from anyio.streams.memory import MemoryObjectSendStream

from durable import StepFailed
from tests.worker.run.scenarios.stage import Stage, child, race, scenario


@scenario
async def gathered(stage: Stage) -> Any:
    return await asyncio.gather(stage.step("a"), stage.step("b"), stage.gate(), stage.steps("c", "d"))


@scenario
async def gathered_with_its_exceptions(stage: Stage) -> Any:
    answers = await asyncio.gather(
        stage.step("a"), stage.failing("bad"), stage.gate(), stage.failing("worse"), return_exceptions=True
    )
    return [answer if isinstance(answer, str) else str(answer) for answer in answers]


@race
async def gathered_until_one_fails(stage: Stage) -> Any:
    others = [asyncio.create_task(one) for one in (stage.step("a"), stage.steps("b", "c"), stage.gate())]
    try:
        await asyncio.gather(stage.failing("bad"), *others)
    except StepFailed:
        await stage.won("failure", str(sum(task.done() for task in others)))
    return [await asyncio.gather(*others), stage.order.index("bad failed")]


@scenario
async def a_group_in_a_group(stage: Stage) -> Any:
    async with asyncio.TaskGroup() as outer:
        tasks = [outer.create_task(stage.steps("a", "b"))]
        async with asyncio.TaskGroup() as inner:
            tasks += [inner.create_task(stage.steps(f"inner {index}")) for index in range(3)]
        await stage.gate()
        tasks += [outer.create_task(stage.steps("c"))]
    return [task.result() for task in tasks]


@race
async def a_group_that_fails(stage: Stage) -> Any:
    """The siblings clean up durably."""
    ends: dict[str, str] = {}

    async def sibling(key: str) -> None:
        try:
            await stage.steps(f"{key} 1", f"{key} 2")
            ends[key] = "ended"
        except asyncio.CancelledError:
            stage.saw(f"{key} was cancelled")
            ends[key] = await stage.step(f"clean up {key}")
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for key in "abcdefgh":
                group.create_task(sibling(key))
            group.create_task(stage.gate("never"))
            group.create_task(stage.failing("bad"))
    except* StepFailed:
        await stage.won("failure", str(sorted(ends.items())))
    await stage.gate()
    return ends


@race
async def first_completed(stage: Stage) -> Any:
    tasks = {
        asyncio.create_task(one, name=name): name
        for name, one in {"a": stage.step("a"), "b": stage.steps("b", "c"), "d": stage.early("d")}.items()
    }
    rounds: list[list[str]] = []
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        rounds.append([tasks[task] for task in done])
        await stage.won(f"round {len(rounds)}", str(rounds[-1]))
    await stage.gate()
    return rounds


@race
async def first_exception(stage: Stage) -> Any:
    tasks = [asyncio.create_task(one) for one in (stage.steps("a", "b"), stage.failing("bad"), stage.gate())]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    await stage.won("failure", str(len(done)))
    await asyncio.wait(tasks)
    return [len(done), len(pending), [type(task.exception()).__name__ for task in tasks]]


@scenario
async def all_completed(stage: Stage) -> Any:
    tasks = [asyncio.create_task(one) for one in (stage.step("a"), stage.gate(), stage.failing("bad"), stage.nap("n"))]
    done, pending = await asyncio.wait(tasks)
    return [len(done), len(pending), [task.exception() is None for task in tasks]]


@race
async def as_completed_behind_a_semaphore(stage: Stage) -> Any:
    places = asyncio.Semaphore(2)

    async def one(index: int) -> int:
        async with places:
            await (stage.gate() if index == 3 else stage.step(f"step {index}"))
        return index

    ends = [await first for first in asyncio.as_completed([one(index) for index in range(8)])]
    await stage.won("places", str(ends))
    return ends


@race
async def shielded(stage: Stage) -> Any:
    inner = asyncio.create_task(stage.steps("inner 1", "inner 2"))

    async def guarded() -> Any:
        return await asyncio.shield(inner)

    outer = asyncio.create_task(guarded())
    await stage.step("wait")
    outer.cancel()
    try:
        await outer
        end = "in time"
    except asyncio.CancelledError:
        end = "cancelled"
    await stage.won("shield", end)
    return [end, await inner, await stage.gate()]


@race
async def locked(stage: Stage) -> Any:
    lock = asyncio.Lock()
    inside: list[str] = []

    async def one(key: str) -> None:
        await stage.step(f"before {key}")
        async with lock:
            inside.append(key)
            await (stage.gate() if key == "b" else stage.step(f"inside {key}"))

    await asyncio.gather(*map(one, "abcd"))
    await stage.won("lock", inside[0])
    return inside


@race
async def conditioned(stage: Stage) -> Any:
    condition = asyncio.Condition()
    shelf: list[str] = []
    taken: list[list[str]] = []

    async def consume(name: str) -> None:
        async with condition:
            await condition.wait_for(lambda: shelf)
            taken.append([name, shelf.pop(0)])

    async def produce(key: str) -> None:
        thing = await (stage.gate() if key == "b" else stage.step(key))
        async with condition:
            shelf.append(thing)
            condition.notify()

    await asyncio.gather(*map(consume, ("first", "second", "third")), *map(produce, "abc"))
    await stage.won("shelf", taken[0][1])
    return taken


@scenario
async def signalled(stage: Stage) -> Any:
    """One task sets an event of asyncio that others wait for."""
    opened = asyncio.Event()

    async def wait(key: str) -> str:
        await opened.wait()
        return await stage.step(key)

    waiting = asyncio.gather(*map(wait, "abc"))
    await stage.step("before")
    await stage.gate()
    opened.set()
    return await waiting


@race
async def queued(stage: Stage) -> Any:
    queue: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
    taken: list[list[str]] = []

    async def produce(name: str) -> None:
        for index in range(3):
            await queue.put(await stage.step(f"{name} {index}"))

    async def consume(name: str) -> None:
        while True:
            taken.append([name, thing := await queue.get()])
            await (stage.gate() if len(taken) == 4 else stage.step(f"take {thing}"))
            queue.task_done()

    consumers = [asyncio.create_task(consume(name)) for name in ("one", "other")]
    await asyncio.gather(produce("a"), produce("b"))
    await queue.join()
    for consumer in consumers:
        consumer.cancel()
    await stage.won("queue", taken[0][1])
    return taken


@race
async def queued_by_priority(stage: Stage) -> Any:
    queue: asyncio.PriorityQueue[tuple[float, str]] = asyncio.PriorityQueue()
    taken: list[str] = []

    async def produce(key: str) -> None:
        thing = await (stage.gate() if key == "c" else stage.step(key))
        queue.put_nowait((-stage.seconds(key), thing))

    async with asyncio.TaskGroup() as group:
        for key in "abcde":
            group.create_task(produce(key))
        for index in range(5):
            taken.append((await queue.get())[1])
            if index < 2:
                await stage.step(f"take {index}")
    await stage.won("priority", taken[0])
    return taken


@race
async def at_the_barrier(stage: Stage) -> Any:
    barrier = asyncio.Barrier(3)
    places: list[list[Any]] = []

    async def come(key: str) -> None:
        await (stage.gate() if key == "b" else stage.step(key))
        places.append([key, await barrier.wait()])
        await stage.step(f"beyond {key}")

    await asyncio.gather(*map(come, "abcdef"))
    await stage.won("barrier", places[0][0])
    return places


@race
async def an_event_against_steps(stage: Stage) -> Any:
    firsts = [
        await stage.won_first(
            f"round {n}", stage.early("early") if n == 0 else stage.nap(f"nap {n}"), stage.step(f"step {n}")
        )
        for n in range(3)
    ]
    return [firsts, await stage.gate()]


@race
async def a_sibling_that_is_cancelled(stage: Stage) -> Any:
    ends: list[str] = []

    async def sibling() -> None:
        try:
            await stage.steps("s 1", "s 2", "s 3")
            ends.append("ended")
        finally:
            ends.extend(await stage.steps("clean up 1", "clean up 2"))
            ends.append(await stage.gate("clean up 3"))

    task = asyncio.create_task(sibling())
    await stage.step("decide")
    task.cancel()
    await asyncio.wait([task])
    await stage.won("cancel", "nobody" if task.cancelled() else "sibling")
    return [ends, task.cancelled()]


@race
async def a_group_of_anyio(stage: Stage) -> Any:
    send, receive = anyio.create_memory_object_stream[str](1)
    found: list[str] = []

    async def produce(key: str, sending: MemoryObjectSendStream[str]) -> None:
        async with sending:
            await sending.send(await (stage.gate() if key == "c" else stage.step(key)))

    async with anyio.create_task_group() as group:
        for key in "abcd":
            group.start_soon(produce, key, send.clone())
        send.close()
        async with receive:
            async for thing in receive:
                found.append(thing)
                await stage.won(f"place {len(found)}", thing)
    return found


@race
async def generators_that_are_closed(stage: Stage) -> Any:
    async def pages(name: str) -> AsyncIterator[str]:
        try:
            for index in range(4):
                yield await stage.step(f"{name} {index}")
        finally:
            await stage.step(f"close {name}")

    async def read(name: str) -> list[str]:
        found: list[str] = []
        async with aclosing(pages(name)) as read:
            async for page in read:
                found.append(page)
                if len(found) == 2:
                    found.append(await stage.gate(f"{name} gate"))
                    break
        return found

    both = await asyncio.gather(read("one"), read("other"))
    await stage.won("reading", stage.order[-1])
    return [both, stage.order]


@race
async def eager(stage: Stage) -> Any:
    """Before Python 3.12, they are tasks like others."""
    if sys.version_info >= (3, 12):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    tasks = [asyncio.create_task(one) for one in (stage.step("a"), stage.steps("b", "c"), stage.gate())]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await stage.won("race", str([task.get_name() for task in tasks if task in done]))
    return [await asyncio.gather(*tasks), stage.order]


@race
async def called_back(stage: Stage) -> Any:
    loop = asyncio.get_running_loop()
    called: list[str] = []
    tasks = [
        asyncio.create_task(one, name=name)
        for name, one in {"a": stage.step("a"), "b": stage.step("b"), "gate": stage.gate()}.items()
    ]
    for task in tasks:
        task.add_done_callback(lambda ended: loop.call_soon(called.append, ended.get_name()))
        task.add_done_callback(lambda ended: called.append(f"{ended.get_name()} ended"))
    await asyncio.wait(tasks)
    await asyncio.sleep(0)
    await stage.won("callbacks", called[0])
    return called


async def count(tx: psycopg.AsyncConnection[Any]) -> int:
    return len(await (await tx.execute("SELECT 1")).fetchall())


@race
async def all_primitives_in_tasks(stage: Stage) -> Any:
    ctx = stage.ctx

    async def one(key: str) -> list[Any]:
        number = await ctx.random_uint64(f"{key} number")
        await stage.nap(f"{key} nap")
        answers: list[Any] = [number, await ctx.now(f"{key} now"), await ctx.random(f"{key} random")]
        answers += [await stage.step(key), await ctx.transaction(f"{key} count", count)]
        begun = await ctx.start_child(f"{key} child", child, stage.seconds(f"{key} child"))
        return [*answers, await ctx.random_uuid7(f"{key} uuid"), await begun.result()]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(key)) for key in "abc"]
        group.create_task(stage.gate())
    return [task.result() for task in tasks]


@race
async def children_that_race(stage: Stage) -> Any:
    begun = [await stage.ctx.start_child(key, child, stage.seconds(key)) for key in "abc"]
    first = await stage.won_first("children", *(one.result() for one in begun), stage.step("step"))
    return [first, await stage.gate()]
