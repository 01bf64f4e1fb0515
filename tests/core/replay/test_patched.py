"""``ctx.patched``: which way a run goes at a place where its code was changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from durable import Context, DuplicateKey, InvalidArgument, WorkflowCodeError
from durable.core.replay.commands import Command, Complete, Execute, Fail, Patch, SetAside
from durable.core.replay.history import ELAPSED, History, Memo, OpenWait, Value
from tests.core.replay.playing import Main, Play, execute, work
from tests.laws.programs import machine_of

PATCHED = Memo("fee", "patched", "", None, True, Value("true"))
UNPATCHED = Memo("fee", "patched", "", None, True, Value("false"))


def done(*keys: str) -> tuple[Memo, ...]:
    return tuple(Memo(key, "execute", "work", seq, False, Value("1")) for seq, key in enumerate(keys, 1))


async def old(ctx: Context) -> None:
    await execute(ctx, "charge")
    await execute(ctx, "ship")


async def new(ctx: Context) -> None:
    await execute(ctx, "charge")
    if ctx.patched("fee"):
        await execute(ctx, "take fee")
    await execute(ctx, "ship")


def shown(commands: Iterable[Command]) -> list[str]:
    return [command.key if isinstance(command, Execute) else str(command) for command in commands]


def start(main: Main, *memos: Memo, waits: tuple[OpenWait, ...] = ()) -> list[str]:
    return shown(machine_of(main, History(memos, waits)).start())


def test_a_new_run_and_one_that_has_not_come_so_far_go_the_new_way_and_that_is_recorded() -> None:
    said = str(Patch("fee", is_patched=True))
    machine = machine_of(new, History())
    machine.start()
    _, commands = machine.resolve("charge", Value("1"))
    assert shown(commands) == [said, "take fee"]
    assert start(new, *done("charge")) == [said, "take fee"]


def test_a_run_that_has_passed_the_place_goes_the_old_way_and_that_is_recorded() -> None:
    assert start(new, *done("charge", "ship")) == [str(Patch("fee", is_patched=False)), str(Complete("null"))]


def test_an_open_call_counts_as_passed_although_nothing_is_replayed_any_more() -> None:
    async def waits(ctx: Context) -> None:
        await execute(ctx, "charge")
        if ctx.patched("fee"):
            await execute(ctx, "take fee")
        await ctx.sleep("nap", 3600)

    nap = OpenWait("nap", "sleep", "")
    assert start(waits, *done("charge"), waits=(nap,))[0] == str(Patch("fee", is_patched=False))


@pytest.mark.parametrize("memo", [PATCHED, UNPATCHED])
def test_what_is_recorded_is_said_again_whatever_is_met_by_then(memo: Memo) -> None:
    then = "take fee" if memo is PATCHED else "ship"
    assert start(new, *done("charge"), memo) == [then]


def test_the_way_is_the_same_after_a_retry_that_has_carried_everything() -> None:
    carried = tuple(Memo(memo.key, "execute", "work", None, True, memo.outcome) for memo in done("charge", "ship"))
    assert start(new, *carried, UNPATCHED) == [str(Complete("null"))]
    assert start(new, *carried, PATCHED) == ["take fee"]


def test_the_question_can_be_removed_and_old_code_takes_a_run_back_that_has_asked() -> None:
    async def without(ctx: Context) -> None:
        await execute(ctx, "charge")
        await execute(ctx, "take fee")
        await execute(ctx, "ship")

    assert start(without, *done("charge", "take fee"), PATCHED) == ["ship"]
    assert start(old, *done("charge"), UNPATCHED) == ["ship"]
    (aside,) = machine_of(old, History((*done("charge", "take fee"), PATCHED))).start()
    assert isinstance(aside, SetAside)


def test_it_may_be_asked_in_a_loop_and_by_many_tasks_and_says_the_same() -> None:
    async def main(ctx: Context) -> list[bool]:
        said = [ctx.patched("fee")]

        async def one(index: int) -> None:
            said.append(ctx.patched("fee"))
            await execute(ctx, f"step {index}")
            said.append(ctx.patched("fee"))

        await asyncio.gather(*(one(index) for index in range(5)))
        return said

    play = Play(main).to_the_end()
    play.check_replays()
    assert play.result == [True] * 11
    assert [memo.key for memo in play.memos].count("fee") == 1


def test_another_branch_that_has_memos_left_makes_it_the_old_way() -> None:
    async def main(ctx: Context) -> None:
        async def one() -> None:
            await execute(ctx, "a")
            if ctx.patched("fee"):
                await execute(ctx, "take fee")
            await execute(ctx, "b")

        async def other() -> None:
            for key in ("c", "d"):
                await execute(ctx, key)

        await asyncio.gather(one(), other())

    assert start(main, *done("c", "a", "d")) == [str(Patch("fee", is_patched=False)), "b"]
    assert start(main, *done("c", "d", "a")) == [str(Patch("fee", is_patched=True)), "take fee"]


def test_what_was_decided_in_the_turn_in_which_the_run_fails_is_recorded_too() -> None:
    async def main(ctx: Context) -> None:
        ctx.patched("fee")
        raise ValueError("no")

    commands = machine_of(main, History()).start()
    assert commands[0] == Patch("fee", is_patched=True)
    assert isinstance(commands[1], Fail)


def test_a_key_that_names_a_call_is_refused_and_one_that_is_recorded_as_a_call_sets_the_run_aside() -> None:
    async def used(ctx: Context) -> None:
        await ctx.sleep("fee", 1)
        ctx.patched("fee")

    async def used_later(ctx: Context) -> None:
        ctx.patched("fee")
        await ctx.sleep("fee", 1)

    async def empty(ctx: Context) -> None:
        ctx.patched("")

    machine = machine_of(used, History())
    machine.start()
    _, commands = machine.resolve("fee", ELAPSED)
    assert isinstance(commands[-1], Fail)
    assert isinstance(commands[-1].exception, DuplicateKey)
    for main, error in ((used_later, DuplicateKey), (empty, InvalidArgument)):
        ending = machine_of(main, History()).start()[-1]
        assert isinstance(ending, Fail)
        assert isinstance(ending.exception, error)
    (aside,) = machine_of(new, History((*done("charge"), Memo("fee", "sleep", "", 2, False, ELAPSED)))).start()
    assert isinstance(aside, SetAside)


def test_it_is_asked_in_workflow_code_only() -> None:
    kept: list[Context] = []

    async def main(ctx: Context) -> None:
        kept.append(ctx)
        await execute(ctx, "step")

    machine = machine_of(main, History())
    machine.start()
    with pytest.raises(WorkflowCodeError, match="patched 'fee' was called outside"):
        kept[0].patched("fee")
    assert work is not None
    machine.close()
