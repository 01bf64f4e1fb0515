"""What the machine makes of children."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from durable import Context, InvalidArgument, RunCancelled, RunFailed, RunKey, SerializationError, workflow
from durable.core.codec.json_codec import JsonCodec
from durable.core.failures import ErrorInfo
from durable.core.replay.commands import (
    Abandon,
    CancelChild,
    Command,
    Complete,
    EndCancelled,
    Fail,
    SetAside,
    StartChild,
    WaitChild,
)
from durable.core.replay.history import Cancel, ChildEnd, History, Memo, Value
from durable.core.replay.machine import Machine
from tests.laws.programs import Main, machine_of

CHILD = RunKey("grow_0", "01890000-0000-7000-8000-000000000001")
STARTED = Value(StartChild.answer(CHILD))


class Plant(msgspec.Struct):
    height: int


@workflow
async def grow(ctx: Context, plant: Plant) -> Plant:
    return Plant(plant.height + 1)


@workflow
async def rest(ctx: Context) -> None: ...


async def run_one(ctx: Context) -> Any:
    return await ctx.run_child("one", grow, Plant(1))


async def start_one(ctx: Context) -> Any:
    handle = await ctx.start_child("one", grow, Plant(1))
    try:
        return [(await handle.result()).height, (await handle.result()).height]
    except asyncio.CancelledError:
        return (await handle.result()).height


def completed(text: str = '{"height":2}') -> Value:
    return Value(ChildEnd("completed", msgspec.Raw(text.encode())).text)


def begun(main: Main) -> Machine:
    """A machine that waits for its child."""
    machine = machine_of(main, History())
    (start,) = machine.start()
    assert isinstance(start, StartChild)
    _, (wait,) = machine.resolve("one", STARTED)
    assert isinstance(wait, WaitChild)
    assert (wait.key, wait.run_key) == ("one:result", CHILD)
    return machine


def memos(end: Value) -> tuple[Memo, ...]:
    return (
        Memo("one", "child", "grow", 1, False, STARTED),
        Memo("one:result", "child_result", CHILD.run_id, 2, False, end),
    )


def test_a_child_is_begun_with_its_encoded_input() -> None:
    (start,) = machine_of(run_one, History()).start()
    assert isinstance(start, StartChild)
    assert (start.workflow, start.input, str(start)) == (grow, '{"height":1}', "child 'one' of workflow 'grow'")


def test_the_output_comes_back_in_its_type() -> None:
    async def main(ctx: Context) -> Any:
        plant = await ctx.run_child("one", grow, Plant(1))
        return isinstance(plant, Plant)

    first = begun(main).resolve("one:result", completed())[1]
    assert first == [Complete("true")] == machine_of(main, History(memos(completed()))).start()


def test_an_output_is_kept_to_the_letter() -> None:
    end = ChildEnd.parse(completed('{"height": 1e16}').text, "the end")
    assert end.output_text == '{"height": 1e16}'


@pytest.mark.parametrize(
    ("end", "raised"),
    [
        (ChildEnd("failed", error=ErrorInfo("ValueError", "no water")), RunFailed),
        (ChildEnd("cancelled", error=ErrorInfo("RunCancelled", "winter")), RunCancelled),
    ],
)
def test_a_child_that_ended_badly_raises_what_a_client_would_see(end: ChildEnd, raised: type[Exception]) -> None:
    async def main(ctx: Context) -> Any:
        try:
            await ctx.run_child("one", grow, Plant(1))
        except (RunFailed, RunCancelled) as error:
            return [type(error).__name__, str(error.run_key), str(error)]

    (first,) = begun(main).resolve("one:result", Value(end.text))[1]
    assert isinstance(first, Complete)
    assert JsonCodec().decode(first.output, list[str], "")[:2] == [raised.__name__, str(CHILD)]
    assert machine_of(main, History(memos(Value(end.text)))).start() == [first]


@pytest.mark.parametrize("text", ["null", "{}", '{"status":"asleep"}', '{"status":"completed"}', "9" * 5000])
def test_an_end_that_nobody_here_has_written_sets_the_parent_aside(text: str) -> None:
    (ending,) = begun(run_one).resolve("one:result", Value(text))[1]
    assert isinstance(ending, SetAside)


def test_an_output_that_does_not_fit_the_declared_type_sets_the_parent_aside() -> None:
    (ending,) = begun(run_one).resolve("one:result", Value('{"status":"completed","output":"none"}'))[1]
    assert isinstance(ending, SetAside)
    assert f"the output of child {CHILD} is recorded, but does not fit" in str(ending.error)


def test_a_handle_gives_its_result_any_number_of_times() -> None:
    assert begun(start_one).resolve("one:result", completed())[1] == [Complete("[2,2]")]


def test_a_handle_gives_its_result_after_an_await_of_it_was_cancelled() -> None:
    machine = begun(start_one)
    assert machine.cancel(Cancel("request")) == (2, [])
    _, (ending,) = machine.resolve("one:result", completed())
    assert ending == EndCancelled(Cancel("request"), None)


def test_cancelling_the_await_of_run_child_cancels_the_child() -> None:
    machine = begun(run_one)
    _, commands = machine.cancel(Cancel("request"))
    assert [type(command) for command in commands] == [Abandon, CancelChild, EndCancelled]
    assert commands[1] == CancelChild(CHILD)


def test_a_sibling_that_fails_cancels_the_child_that_its_group_awaits() -> None:
    async def main(ctx: Context) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.run_child("one", grow, Plant(1)))
            group.create_task(ctx.run_child("two", grow, Plant(1)))

    machine = machine_of(main, History())
    machine.start()
    machine.resolve("one", STARTED)
    machine.resolve("two", Value(StartChild.answer(RunKey("grow_0", "01890000-0000-7000-8000-000000000002"))))
    failed = ChildEnd("failed", error=ErrorInfo("ValueError", "no water"))
    commands = machine.resolve("two:result", Value(failed.text))[1]
    assert CancelChild(CHILD) in commands
    assert isinstance(commands[-1], Fail)


def test_a_child_that_was_cancelled_before_it_was_begun_is_not_begun() -> None:
    async def main(ctx: Context) -> Any:
        task = asyncio.ensure_future(ctx.run_child("one", grow, Plant(1)))
        await asyncio.sleep(0)
        task.cancel()
        return "done"

    assert machine_of(main, History()).start() == [Complete('"done"')]


def test_a_child_of_another_workflow_than_the_recorded_one_sets_the_run_aside() -> None:
    async def main(ctx: Context) -> Any:
        await ctx.run_child("one", rest)

    (aside,) = machine_of(main, History(memos(completed()))).start()
    assert isinstance(aside, SetAside)
    assert "child 'one' of workflow 'grow'" in aside.error.recorded
    assert "child 'one' of workflow 'rest'" in aside.error.called


async def wrong_type(ctx: Context) -> Any:
    await ctx.run_child("one", grow, "a tree")  # type: ignore[misc]


async def unwanted_input(ctx: Context) -> Any:
    await ctx.run_child("one", rest, 1)  # type: ignore[misc]


async def not_a_workflow(ctx: Context) -> Any:
    await ctx.run_child("one", run_one, None)  # type: ignore[call-overload]


async def long_key(ctx: Context) -> Any:
    await ctx.start_child("x" * 194, grow, Plant(1))


async def unstorable(ctx: Context) -> Any:
    await ctx.run_child("one", grow, object())  # type: ignore[misc]


@pytest.mark.parametrize(
    ("main", "error"),
    [
        (wrong_type, InvalidArgument),
        (unwanted_input, InvalidArgument),
        (not_a_workflow, InvalidArgument),
        (long_key, InvalidArgument),
        (unstorable, SerializationError),
    ],
)
def test_bad_input_is_refused_before_anything_is_begun(main: Main, error: type[Exception]) -> None:
    commands: list[Command] = machine_of(main, History()).start()
    assert [type(command) for command in commands] == [Fail]
    assert isinstance(commands[0], Fail)
    assert isinstance(commands[0].exception, error)
