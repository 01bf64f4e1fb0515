"""Code that turns in circles is left after a number of callbacks that is the same on every replay."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from durable import Context, RunKey, WorkflowCodeError
from durable.core.codec.json_codec import JsonCodec
from durable.core.replay.commands import Complete, ContinueAsNew, Fail
from durable.core.replay.history import ELAPSED, Cancel, History
from durable.core.replay.machine import Machine
from tests.core.replay.playing import Play, execute
from tests.laws.programs import Main


async def a_poll(ctx: Context) -> Any:
    got: list[Any] = []

    async def fetch() -> None:
        got.append(await execute(ctx, "fetch"))

    task = asyncio.create_task(fetch())
    while not got:
        await asyncio.sleep(0)
    await task
    return got[0]


async def polls_in_a_row(ctx: Context) -> list[int]:
    turns: list[int] = []
    for index in range(4):
        task, count = asyncio.create_task(execute(ctx, f"fetch {index}")), 0
        while not task.done():
            count += 1
            await asyncio.sleep(0)
        turns.append(count)
    return turns


async def a_scope_that_cancels_what_will_not_end(ctx: Context) -> list[str]:
    """anyio delivers a cancel again in every turn until the task has ended."""
    out: list[str] = []

    async def tool() -> None:
        try:
            await execute(ctx, "tool")
        finally:
            task = asyncio.create_task(execute(ctx, "clean up"))
            while not task.done():
                try:
                    await asyncio.shield(task)
                except asyncio.CancelledError:
                    continue
            out.append(str(task.result()))

    with anyio.CancelScope() as scope:
        async with asyncio.TaskGroup() as group:
            group.create_task(tool())
            out.append(str(await execute(ctx, "first")))
            scope.cancel()
    return out


PROGRAMS: list[Main] = [a_poll, polls_in_a_row, a_scope_that_cancels_what_will_not_end]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("main", PROGRAMS, ids=lambda main: main.__name__)
def test_code_that_polls_continues_with_the_next_answer(main: Main, seed: int) -> None:
    play = Play(main, seed).to_the_end()
    play.check_replays()


def test_code_that_polls_for_what_nothing_can_bring_fails() -> None:
    async def main(ctx: Context) -> None:
        while True:
            await asyncio.sleep(0)

    ending = Play(main).start().ending
    assert isinstance(ending, Fail)
    assert isinstance(ending.exception, WorkflowCodeError)
    assert "in circles" in str(ending.exception)


def test_work_that_takes_many_turns_is_not_taken_for_a_circle() -> None:
    async def main(ctx: Context) -> int:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        pending = asyncio.create_task(execute(ctx, "pending"))

        async def produce() -> None:
            for index in range(20_000):
                await queue.put(index)

        producer = asyncio.create_task(produce())
        total = sum([await queue.get() for _ in range(20_000)])
        await producer
        return total + await pending

    play = Play(main).start()
    play.answer("pending")
    assert play.result == sum(range(20_000))


@pytest.mark.parametrize("goes_on", [False, True])
def test_code_that_ends_in_its_last_turns_before_a_cancel_has_ended(*, goes_on: bool) -> None:
    """The ending would otherwise never be taken, and the run stay on its worker for ever."""

    async def main(ctx: Context) -> str:
        await ctx.sleep("nap", 1)
        for _ in range(30_000):
            await asyncio.sleep(0)
        if goes_on:
            await machine.continue_as_new(ContinueAsNew('"next"', 1, None))
        return "done"

    machine = Machine(History(), JsonCodec(), output=lambda: "the output", may_break_off=True)
    machine.start(main(Context(machine, RunKey("program_0", "01940000-0000-7000-8000-0123456789ab"), "program", 1, 1)))
    machine.resolve("nap", ELAPSED)
    assert machine.has_more_turns
    seq, commands = machine.cancel(Cancel("request"))
    assert (seq, commands) == (None, [ContinueAsNew('"next"', 1, None) if goes_on else Complete('"done"')])
    machine.close()
