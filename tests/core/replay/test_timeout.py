"""``ctx.timeout``: a durable limit that ends a block the same way on every replay."""

from __future__ import annotations

import asyncio

import pytest

from durable import Context, DuplicateKey, InvalidArgument, WorkflowCodeError
from durable.core.replay.commands import EndCancelled
from tests.core.replay.playing import Main, Play, execute

SEEDS = range(12)


def played(main: Main, seed: int) -> object:
    play = Play(main, seed=seed).to_the_end()
    play.check_replays()
    return play.result


@pytest.mark.parametrize("seed", SEEDS)
def test_whichever_comes_first_ends_the_block_and_does_so_on_every_replay(seed: int) -> None:
    async def main(ctx: Context) -> list[object]:
        limit = ctx.timeout("limit", 0.5)
        try:
            async with limit:
                got = [await execute(ctx, f"step {number}") for number in range(3)]
        except TimeoutError as error:
            return [str(error), limit.expired(), await execute(ctx, "instead")]
        return [got, limit.expired()]

    result = played(main, seed)
    assert isinstance(result, list)
    assert result[:2] == ["timeout 'limit' of 0.5 s is over", True] or result == [[0, 1, 2], False]


def test_both_happen_among_the_seeds() -> None:
    async def main(ctx: Context) -> bool:
        try:
            async with ctx.timeout("limit", 0.5):
                for number in range(3):
                    await execute(ctx, f"step {number}")
        except TimeoutError:
            return True
        return False

    assert {played(main, seed) for seed in SEEDS} == {True, False}


def test_a_block_that_is_left_in_time_gives_its_limit_up() -> None:
    async def main(ctx: Context) -> None:
        async with ctx.timeout("limit", 3600):
            await execute(ctx, "step")
        await ctx.sleep("nap", 7200)

    play = Play(main).start()
    play.answer("step")
    assert play.abandoned == ["limit"]
    play.answer("nap")
    play.check_replays()
    play.machine.close()


def test_the_inner_of_two_limits_leaves_the_outer_alone_and_the_outer_ends_both() -> None:
    async def main(ctx: Context) -> list[str]:
        seen: list[str] = []
        try:
            async with ctx.timeout("outer", 100):
                try:
                    async with ctx.timeout("inner", 1):
                        await ctx.sleep("nap", 50)
                except TimeoutError as error:
                    seen.append(str(error))
                try:
                    async with ctx.timeout("inner again", 1000):
                        await ctx.sleep("long nap", 5000)
                except TimeoutError:
                    seen.append("of the wrong limit")
        except TimeoutError as error:
            seen.append(str(error))
        return seen

    assert played(main, 0) == ["timeout 'inner' of 1 s is over", "timeout 'outer' of 100 s is over"]


def test_gathers_and_task_groups_in_the_block_are_canceled_with_their_clean_up() -> None:
    async def main(ctx: Context) -> list[str]:
        seen: list[str] = []

        async def part(name: str) -> None:
            try:
                await ctx.sleep(name, 5000)
            finally:
                seen.append(f"{name}: {await execute(ctx, f'clean up {name}')}"[:1])

        with pytest.raises(TimeoutError):
            async with ctx.timeout("limit", 5), asyncio.TaskGroup() as group:
                group.create_task(part("a"))
                group.create_task(part("b"))
        return seen

    assert played(main, 3) == ["a", "b"]


def test_a_cancel_from_outside_is_not_turned_into_a_timeout() -> None:
    async def main(ctx: Context) -> None:
        try:
            async with ctx.timeout("limit", 5):
                await ctx.sleep("nap", 5000)
        except TimeoutError:
            await execute(ctx, "wrong")
            raise

    play = Play(main).start()
    play.cancel()
    play.check_replays()
    assert isinstance(play.ending, EndCancelled)
    play.machine.close()


def test_a_cancel_by_another_task_in_the_turn_in_which_the_limit_fires_wins() -> None:
    async def main(ctx: Context) -> str:
        async def limited() -> None:
            async with ctx.timeout("limit", 5):
                await ctx.sleep("nap", 5000)

        task = asyncio.create_task(limited())

        async def rival() -> None:
            async with ctx.timeout("of the rival", 1):
                await asyncio.sleep(0)
            task.cancel("by the rival")

        await rival()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled"
        except TimeoutError:
            return "timeout"
        return "nothing"

    assert played(main, 0) == "cancelled"


def test_an_error_of_the_block_stays_what_it_is() -> None:
    async def main(ctx: Context) -> str:
        try:
            async with ctx.timeout("limit", 5):
                await execute(ctx, "step")
                raise ValueError("of the block")
        except ValueError as error:
            return str(error)

    play = Play(main).start()
    play.answer("step")
    play.check_replays()
    play.machine.close()
    assert play.result == "of the block"


def test_a_limit_that_is_caught_inside_its_block_is_over_all_the_same() -> None:
    async def main(ctx: Context) -> list[object]:
        limit = ctx.timeout("limit", 5)
        async with limit:
            try:
                await ctx.sleep("nap", 5000)
            except asyncio.CancelledError:
                pass
        task = asyncio.current_task()
        return [limit.expired(), task is not None and task.cancelling()]

    assert played(main, 0) == [True, 0]


def test_a_key_is_used_once_and_a_limit_is_entered_once() -> None:
    async def twice(ctx: Context) -> None:
        for _ in range(2):
            async with ctx.timeout("limit", 5):
                pass

    async def again(ctx: Context) -> None:
        limit = ctx.timeout("limit", 5)
        for _ in range(2):
            async with limit:
                pass

    with pytest.raises(DuplicateKey, match="timeout 'limit'"):
        played(twice, 0)
    with pytest.raises(WorkflowCodeError, match="has been entered before"):
        played(again, 0)


@pytest.mark.parametrize("seconds", [-1, float("nan"), 1e12, "5"])
def test_a_duration_that_is_none_is_refused(seconds: float) -> None:
    async def main(ctx: Context) -> None:
        async with ctx.timeout("limit", seconds):
            raise AssertionError

    with pytest.raises(InvalidArgument, match="duration"):
        played(main, 0)
