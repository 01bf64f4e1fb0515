"""``ctx.map``: the same step for many items, so many at a time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from durable import Call, Context, DuplicateKey, InvalidArgument, MapFailed, MapResult, RetryPolicy
from durable.core.replay.commands import Abandon, Complete, EndCancelled, Execute, Fail
from durable.core.replay.history import Cancel, History, Value
from tests.core.replay.playing import Main, Play, execute, work
from tests.laws.programs import machine_of

SEEDS = range(8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("limit", [None, 1, 3, 100])
def test_the_results_are_in_the_order_of_the_items_and_no_more_run_at_once_than_may(
    limit: int | None, seed: int
) -> None:
    async def main(ctx: Context) -> list[int]:
        return await ctx.map("price", work, range(10), max_concurrency=limit)

    play = Play(main, seed).start()
    while play.ending is None:
        assert 0 < len(play.open_keys) <= (limit or 10)
        play.step()
    play.check_replays()
    assert sorted(play.result) == list(range(10))  # Play answers with the number of the answer
    order = {memo.key: index for index, memo in enumerate(play.memos)}
    assert play.result == [order[f"price[{index}]"] for index in range(10)]
    play.machine.close()


def test_the_next_item_starts_as_soon_as_any_has_ended() -> None:
    async def main(ctx: Context) -> list[int]:
        return await ctx.map("price", work, "abcde", max_concurrency=2)  # type: ignore[arg-type]

    play = Play(main).start()
    assert play.open_keys == ["price[0]", "price[1]"]
    play.answer("price[1]")
    assert play.open_keys == ["price[0]", "price[2]"]
    play.answer("price[2]")
    assert play.open_keys == ["price[0]", "price[3]"]
    play.machine.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_after_too_many_failures_nothing_new_starts_and_what_runs_finishes(seed: int) -> None:
    async def main(ctx: Context) -> Any:
        return await ctx.map("price", work, range(10), max_concurrency=3)

    play = Play(main, seed, fails=["price[1]"]).start()
    while "price[1]" in play.open_keys:
        play.step()
    running = play.open_keys
    while play.ending is None:
        assert set(play.open_keys) <= set(running)
        play.step()
    play.check_replays()
    assert {memo.key for memo in play.memos} >= set(running)
    assert play.abandoned == []
    with pytest.raises(
        MapFailed, match=r"map 'price': 1 of 10 items failed, none may; first step 'price\[1\]'"
    ) as caught:
        _ = play.result
    assert [error.step_key for error in caught.value.exceptions] == ["price[1]"]
    play.machine.close()


def test_so_many_may_fail_as_is_said() -> None:
    async def some(ctx: Context) -> list[Any]:
        result = await ctx.map("price", work, range(4), max_failures=2)
        assert isinstance(result, MapResult)
        return [result.values, {index: error.step_key for index, error in result.failures.items()}]

    async def any_number(ctx: Context) -> int:
        return len((await ctx.map("price", work, range(4), max_failures=None)).failures)

    async def one(ctx: Context) -> Any:
        return await ctx.map("price", work, range(4), max_failures=1)

    fails = ["price[0]", "price[2]"]
    play = Play(some, fails=fails).to_the_end()
    play.check_replays()
    values, failures = play.result
    assert len(values) == 2
    assert failures == {"0": "price[0]", "2": "price[2]"}
    assert Play(any_number, fails=[f"price[{index}]" for index in range(4)]).to_the_end().result == 4
    with pytest.raises(MapFailed, match="at most 1 may"):
        _ = Play(one, fails=fails).to_the_end().result


def test_no_items_make_no_calls() -> None:
    async def main(ctx: Context) -> list[int]:
        return await ctx.map("price", work, [])

    assert machine_of(main, History()).start() == [Complete("[]")]


def test_a_cancel_gives_up_what_runs_and_starts_nothing() -> None:
    async def main(ctx: Context) -> None:
        await ctx.map("price", work, range(10), max_concurrency=2)

    play = Play(main).start()
    play.answer("price[0]")
    play.cancel()
    play.check_replays()
    assert isinstance(play.ending, EndCancelled)
    assert sorted(play.abandoned) == ["price[1]", "price[2]"]
    play.machine.close()


def test_in_a_limit_or_a_race_it_is_given_up_as_a_whole() -> None:
    async def main(ctx: Context) -> str:
        try:
            async with ctx.timeout("limit", 1):
                await ctx.map("price", work, range(3))
        except TimeoutError:
            return "too late"
        return "in time"

    machine = machine_of(main, History())
    machine.start()
    _, commands = machine.resolve("limit", Value("null"))
    assert [command.call.key for command in commands if isinstance(command, Abandon)] == [
        "price[0]",
        "price[1]",
        "price[2]",
    ]
    assert commands[-1] == Complete('"too late"')


def failure_of(main: Main) -> BaseException:
    machine = machine_of(main, History())
    commands = machine.start()
    while not isinstance(commands[-1], Fail):
        (call, *_) = [command for command in commands if isinstance(command, Execute)]
        _, commands = machine.resolve(call.key, Value("1"))
    return commands[-1].exception


@pytest.mark.parametrize(
    ("items", "options", "said"),
    [
        ({"a", "b"}, {}, "items must be an iterable whose order a replay repeats"),
        (7, {}, "items must be an iterable"),
        ([1], {"max_concurrency": 0}, "max_concurrency must be a whole number"),
        ([1], {"max_failures": -1}, "max_failures must be a whole number"),
        ([1], {"max_failures": 0.5}, "max_failures must be a whole number"),
    ],
)
def test_bad_arguments_are_refused(items: Any, options: dict[str, Any], said: str) -> None:
    async def main(ctx: Context) -> None:
        await ctx.map("price", work, items, **options)

    error = failure_of(main)
    assert isinstance(error, InvalidArgument)
    assert said in str(error)


def test_a_key_that_is_too_long_for_the_last_item_or_is_used_twice_is_refused() -> None:
    async def too_long(ctx: Context) -> None:
        await ctx.map("p" * 197, work, range(11))

    async def used(ctx: Context) -> None:
        await execute(ctx, "price[2]")
        await ctx.map("price", work, range(4), max_concurrency=1)

    assert isinstance(failure_of(too_long), InvalidArgument)
    assert isinstance(failure_of(used), DuplicateKey)


def test_the_options_of_the_call_are_those_of_every_item() -> None:
    policy = RetryPolicy(max_retries=0)

    async def main(ctx: Context) -> None:
        await ctx.map(Call("price", retry=policy, name="price-v1"), work, range(2))

    commands = machine_of(main, History()).start()
    assert [(c.key, c.retry, c.name) for c in commands if isinstance(c, Execute)] == [
        ("price[0]", policy, "price-v1"),
        ("price[1]", policy, "price-v1"),
    ]


def test_ten_thousand_items_make_no_task_each_and_take_no_long_time() -> None:
    async def main(ctx: Context) -> int:
        return len(await ctx.map("price", work, range(10_000), max_concurrency=20))

    machine = machine_of(main, History())
    began = time.process_time()
    waiting = [command.key for command in machine.start() if isinstance(command, Execute)]
    ending: Any = None
    while ending is None:
        _, commands = machine.resolve(waiting.pop(0), Value("1"))
        waiting += [command.key for command in commands if isinstance(command, Execute)]
        assert len(waiting) <= 20
        ending = next((command for command in commands if isinstance(command, Complete)), None)
    assert ending == Complete("10000")
    assert machine.loop.tasks_made == 0
    assert time.process_time() - began < 5


def test_a_cancel_that_comes_with_the_last_answer_counts() -> None:
    async def main(ctx: Context) -> list[int]:
        return await ctx.map("price", work, range(1))

    machine = machine_of(main, History())
    machine.start()
    _, commands = machine.cancel(Cancel("request"))
    assert isinstance(commands[-1], EndCancelled)
