"""The order that workflow code observes is the same on every replay, in this process and in another."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from durable import Context, WorkflowCodeError
from durable.core.replay.commands import Fail
from durable.core.replay.loop import ReplayLoop
from durable.core.replay.numbered import NumberedTask, salt_of
from tests.core.replay.playing import Play, execute
from tests.laws.programs import Main


async def as_completed_behind_a_semaphore(ctx: Context) -> list[Any]:
    places = asyncio.Semaphore(2)

    async def one(index: int) -> int:
        async with places:
            await execute(ctx, f"call {index}")
        return index

    return [await first for first in asyncio.as_completed([one(index) for index in range(12)])]


async def wait_on_gathers_and_shields(ctx: Context) -> list[str]:
    groups = [asyncio.gather(execute(ctx, f"{index}a"), execute(ctx, f"{index}b")) for index in range(6)]
    shields = [asyncio.shield(asyncio.ensure_future(execute(ctx, f"{index}c"))) for index in range(6)]
    names: dict[Any, str] = {future: f"g{index}" for index, future in enumerate(groups)}
    names |= {future: f"s{index}" for index, future in enumerate(shields)}
    order: list[str] = []
    waiting = set(names)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        order += [names[future] for future in done]
    return order


async def wait_on_coroutines_as_tasks(ctx: Context) -> list[Any]:
    done, _ = await asyncio.wait([asyncio.create_task(execute(ctx, f"call {index}")) for index in range(10)])
    return [task.get_name() for task in done]


async def all_tasks_but_this_one(ctx: Context) -> list[str]:
    for index in range(12):
        asyncio.create_task(asyncio.Event().wait(), name=f"task {index}")  # noqa: RUF006  # found below
    await execute(ctx, "call")
    others = asyncio.all_tasks() - {asyncio.current_task()}
    order = [task.get_name() for task in others if task]
    for task in others:
        if task:
            task.cancel()
    return order


async def futures_of_the_loop_in_a_set(ctx: Context) -> list[int]:
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(12)]
    places = {future: index for index, future in enumerate(futures)}
    return [places[future] for future in set(futures)]


async def names_of_tasks(ctx: Context) -> list[str]:
    async def named() -> str:
        task = asyncio.current_task()
        assert task is not None
        return str(await execute(ctx, task.get_name())) + task.get_name()

    return list(await asyncio.gather(*(named() for _ in range(5))))


async def a_group_that_cancels(ctx: Context) -> list[str]:
    order: list[str] = []

    async def one(index: int) -> None:
        try:
            await execute(ctx, f"call {index}")
            raise ValueError(index)
        finally:
            order.append(str(index))

    try:
        async with asyncio.TaskGroup() as group:
            for index in range(12):
                group.create_task(one(index))
    except* ValueError:
        pass
    return order


async def scopes_of_anyio(ctx: Context) -> list[str]:
    order: list[str] = []

    async def one(index: int) -> None:
        with anyio.CancelScope():
            try:
                await execute(ctx, f"call {index}")
            finally:
                order.append(str(index))

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            for index in range(10):
                group.start_soon(one, index)
            await execute(ctx, "first")
            scope.cancel()
    return order


async def timeouts_of_anyio(ctx: Context) -> list[Any]:
    found: list[Any] = []
    for index in range(5):
        with anyio.move_on_after(0.5) as scope:
            found.append(await execute(ctx, f"call {index}"))
        found.append(scope.cancelled_caught)
    try:
        with anyio.fail_after(0.3):
            await anyio.sleep(2)
    except TimeoutError:
        found.append("failed")
    await anyio.sleep(1)
    return found


async def a_memory_stream_of_anyio(ctx: Context) -> list[int]:
    send, receive = anyio.create_memory_object_stream[int](2)
    found: list[int] = []

    async def produce(index: int) -> None:
        async with send.clone() as sending:
            await sending.send(await execute(ctx, f"call {index}"))

    async with anyio.create_task_group() as group:
        for index in range(6):
            group.start_soon(produce, index)
        send.close()
        async with receive:
            found += [number async for number in receive]
    return found


PROGRAMS: list[Main] = [
    as_completed_behind_a_semaphore,
    wait_on_gathers_and_shields,
    wait_on_coroutines_as_tasks,
    all_tasks_but_this_one,
    futures_of_the_loop_in_a_set,
    names_of_tasks,
    a_group_that_cancels,
    scopes_of_anyio,
    timeouts_of_anyio,
    a_memory_stream_of_anyio,
]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("main", PROGRAMS, ids=lambda main: main.__name__)
def test_every_replay_meets_the_same_order(main: Main, seed: int) -> None:
    play = Play(main, seed, salt=salt_of(f"01940000-0000-7000-8000-{seed:02}fedcba9876")).to_the_end()
    play.check_replays()


_SHOW = """
import gc, sys
from tests.core.replay.playing import Play
from tests.core.replay.test_order import PROGRAMS
ballast = [object() for _ in range(int(sys.argv[1]) * 37)]
for main in PROGRAMS:
    ballast.append([object() for _ in range(int(sys.argv[1]))])
    print(main.__name__, Play(main, 3).to_the_end().ending)
"""


def test_processes_with_other_addresses_and_seeds_meet_the_same_order() -> None:
    root = Path(__file__).parents[3]
    shown = {
        subprocess.run(
            [sys.executable, "-c", _SHOW, str(number)],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": str(number)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for number in range(4)
    }
    assert len(shown) == 1
    assert all(main.__name__ in next(iter(shown)) for main in PROGRAMS)


# what has no place in the order


async def a_task_made_by_hand(ctx: Context) -> None:
    await asyncio.Task(execute(ctx, "call"))


async def a_future_made_by_hand_in_wait(ctx: Context) -> None:
    await asyncio.wait([asyncio.Future()])


async def a_future_made_by_hand_in_as_completed(ctx: Context) -> None:
    for first in asyncio.as_completed([asyncio.Future[None]()]):
        await first


async def a_factory_of_other_tasks(ctx: Context) -> None:
    asyncio.get_running_loop().set_task_factory(lambda loop, coro, **_: asyncio.Task(coro, loop=loop))


REFUSED = {
    a_task_made_by_hand: "use asyncio.create_task or a TaskGroup",
    a_future_made_by_hand_in_wait: "create_future",
    a_future_made_by_hand_in_as_completed: "create_future",
    a_factory_of_other_tasks: "eager_task_factory",
}


if sys.version_info >= (3, 12):

    async def an_eager_task_made_by_hand(ctx: Context) -> None:
        await asyncio.Task(execute(ctx, "call"), loop=asyncio.get_running_loop(), eager_start=True)

    async def an_eager_task_made_by_hand_that_sleeps(ctx: Context) -> None:
        await asyncio.Task(asyncio.sleep(1), loop=asyncio.get_running_loop(), eager_start=True)

    REFUSED[an_eager_task_made_by_hand] = REFUSED[a_task_made_by_hand]
    REFUSED[an_eager_task_made_by_hand_that_sleeps] = REFUSED[a_task_made_by_hand]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("main", REFUSED, ids=lambda main: main.__name__)
def test_what_has_no_place_in_the_order_is_refused_with_what_to_write(
    main: Main, caplog: pytest.LogCaptureFixture
) -> None:
    ending = Play(main).start().ending
    assert isinstance(ending, Fail)
    assert isinstance(ending.exception, WorkflowCodeError)
    assert REFUSED[main] in str(ending.exception)
    del ending
    gc.collect()  # while the warning about the coroutine is ignored
    assert caplog.messages == []  # from asyncio, of a pending task or an exception that was never retrieved


def test_a_refusal_that_the_code_swallows_still_ends_the_run() -> None:
    async def main(ctx: Context) -> str:
        try:
            await asyncio.to_thread(print)
        except Exception:
            return "the fallback, which no replay may rely on"
        return "?"

    ending = Play(main).start().ending
    assert isinstance(ending, Fail)
    assert "run_in_executor" in str(ending.exception)


# what carries the order


def test_asyncio_still_looks_up_in_its_module_what_is_replaced_there() -> None:
    """``ordering`` replaces ``set`` and ``list`` as these functions see them."""
    from asyncio import tasks

    for function in (asyncio.wait, asyncio.all_tasks):
        assert {"set", "list"} & set(function.__code__.co_names), function
    as_completed = getattr(tasks, "_AsCompletedIterator", None)
    code = as_completed.__init__.__code__ if as_completed else asyncio.as_completed.__code__
    assert "set" in code.co_names


def test_outside_a_run_asyncio_uses_plain_sets() -> None:
    async def program() -> tuple[Any, ...]:
        task = asyncio.create_task(asyncio.sleep(0))
        done, _ = await asyncio.wait([task])
        return type(done), asyncio.all_tasks() == {asyncio.current_task()}

    assert asyncio.run(program()) == (set, True)


def test_hashes_of_one_run_are_in_the_order_of_creation_and_do_not_meet_those_of_another() -> None:
    one, other = (
        ReplayLoop(salt_of("00000000-0000-7000-8000-ffffffffffff")),
        ReplayLoop(salt_of("00000000-0000-7000-8000-000000000001")),
    )  # type: ignore[abstract]

    async def nothing() -> None: ...

    tasks = [NumberedTask(nothing(), loop=loop) for loop in (one, one, one, other)]
    hashes = [hash(task) for task in tasks]
    assert hashes[1] - hashes[0] == hashes[2] - hashes[1] == 1
    assert hashes[3] not in hashes[:3]
    assert max(hashes) < 2**61 - 1
    for loop in (one, other):
        loop.discard()
