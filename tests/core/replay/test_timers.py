"""asyncio's timers in workflow code: durable waits, and a clock that tells the same on every replay."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from durable import Context, InvalidArgument
from durable.core.replay.commands import Abandon, ArmTimer, Complete, Fail, SetAside
from durable.core.replay.history import ELAPSED, History, Memo, OpenWait, TimedOut, Value
from tests.core.replay.playing import BEGAN, Play, execute
from tests.laws.programs import Main, machine_of


async def a_sleep(ctx: Context) -> str:
    await asyncio.sleep(5)
    return "slept"


async def a_timeout_that_passes(ctx: Context) -> str:
    try:
        async with asyncio.timeout(5):
            await asyncio.Event().wait()
    except TimeoutError:
        return "too late"
    return "in time"


async def a_timeout_around_calls(ctx: Context) -> list[Any]:
    found: list[Any] = []
    for index in range(6):
        try:
            async with asyncio.timeout(0.4):
                found.append(await execute(ctx, f"call {index}"))
        except TimeoutError:
            found.append("too late")
    return found


async def wait_for_in_a_group(ctx: Context) -> list[Any]:
    found: list[Any] = []

    async def one(index: int) -> None:
        try:
            found.append(await asyncio.wait_for(execute(ctx, f"call {index}"), 0.3 + index / 10))
        except TimeoutError:
            found.append(f"{index} was too late")

    async with asyncio.TaskGroup() as group:
        for index in range(6):
            group.create_task(one(index))
    return found


async def wait_with_a_timeout(ctx: Context) -> list[Any]:
    tasks = [asyncio.create_task(execute(ctx, f"call {index}")) for index in range(6)]
    found: list[Any] = []
    while tasks:
        done, _ = await asyncio.wait(tasks, timeout=0.7, return_when=asyncio.FIRST_COMPLETED)
        found.append([task.result() for task in tasks if task in done])
        tasks = [task for task in tasks if task not in done]
    return found


async def races_between_sleeps_and_calls(ctx: Context) -> list[Any]:
    found: list[Any] = []
    for index in range(5):
        call = asyncio.create_task(execute(ctx, f"call {index}"))
        nap = asyncio.create_task(asyncio.sleep(0.5, "nap"))
        done, pending = await asyncio.wait([call, nap], return_when=asyncio.FIRST_COMPLETED)
        found.append([task.result() for task in done])
        for task in pending:
            task.cancel()
    return found


async def the_time_between_calls(ctx: Context) -> list[float]:
    loop = asyncio.get_running_loop()
    times = [loop.time()]
    for index in range(5):
        await execute(ctx, f"call {index}")
        if index != 2:
            times.append(loop.time())
    await asyncio.sleep(1.25)
    return [*times, loop.time()]


async def a_deadline(ctx: Context) -> list[Any]:
    loop = asyncio.get_running_loop()
    found: list[Any] = []
    deadline = loop.time() + 2
    try:
        async with asyncio.timeout_at(deadline):
            for index in range(20):
                found += [await execute(ctx, f"call {index}")]
    except TimeoutError:
        found.append(loop.time() >= deadline)
    return found


async def call_later_in_turn(ctx: Context) -> list[str]:
    loop = asyncio.get_running_loop()
    order: list[str] = []
    done = loop.create_future()
    loop.call_later(2, order.append, "two")
    dropped = loop.call_later(1.5, order.append, "dropped")
    loop.call_later(1, order.append, "one")
    loop.call_later(1, dropped.cancel)
    loop.call_later(3, done.set_result, None)
    await done
    return order


PROGRAMS = [
    a_sleep,
    a_timeout_that_passes,
    a_timeout_around_calls,
    wait_for_in_a_group,
    wait_with_a_timeout,
    races_between_sleeps_and_calls,
    the_time_between_calls,
    a_deadline,
    call_later_in_turn,
]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("main", PROGRAMS, ids=lambda main: main.__name__)
def test_every_replay_sees_the_same_timers_and_the_same_time(main: Main, seed: int) -> None:
    play = Play(main, seed).to_the_end()
    assert isinstance(play.ending, Complete), play.ending
    play.check_replays()


def test_a_sleep_is_a_wait_of_its_own() -> None:
    play = Play(a_sleep).start()
    (timer,) = play.armed
    assert (timer.key, timer.seconds, timer.is_sleep) == ("asyncio:timer:1", 5.0, True)
    play.to_the_end()
    assert play.result == "slept"


def test_a_timeout_is_not_taken_for_a_sleep() -> None:
    (timer,) = Play(a_timeout_that_passes).start().armed
    assert timer.is_sleep is False


def test_what_ends_a_sleep_is_known_by_name_on_this_python() -> None:
    """If CPython renames it, all timers count as timeouts."""
    from durable.core.replay import handles

    assert handles._END_OF_SLEEP is not None
    assert Play(a_sleep).start().armed[0].is_sleep


def test_a_timer_that_is_cancelled_in_the_turn_that_arms_it_is_no_command_but_is_counted() -> None:
    async def main(ctx: Context) -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        await asyncio.sleep(1)

    play = Play(main).start()
    assert [timer.key for timer in play.armed] == ["asyncio:timer:2"]


def test_a_timer_that_is_no_longer_needed_is_abandoned() -> None:
    async def main(ctx: Context) -> Any:
        return await asyncio.wait_for(execute(ctx, "call"), 60)

    play = Play(main).start()
    play.answer("call")
    assert play.abandoned == ["asyncio:timer:1"]


@pytest.mark.parametrize("delay", [0, -1, -math.inf])
def test_a_timer_without_delay_is_not_stored(delay: float) -> None:
    async def main(ctx: Context) -> str:
        try:
            async with asyncio.timeout(delay):
                await execute(ctx, "call")
        except TimeoutError:
            return "at once"
        return "in time"

    play = Play(main).start()
    assert play.armed == []
    assert play.result == "at once"


@pytest.mark.parametrize("delay", [math.inf, 1e12])
def test_a_timer_that_is_due_in_more_than_a_century_never_fires_and_costs_nothing(delay: float) -> None:
    async def main(ctx: Context) -> Any:
        return await asyncio.wait_for(execute(ctx, "call"), delay)

    play = Play(main).start()
    assert play.armed == []
    play.answer("call")
    assert play.result == 0
    play.check_replays()


def test_a_timer_at_no_time_is_refused() -> None:
    async def main(ctx: Context) -> None:
        await asyncio.sleep(math.nan)

    ending = Play(main).start().ending
    assert isinstance(ending, Fail)
    assert isinstance(ending.exception, ValueError)


def test_the_keys_of_timers_cannot_be_used_for_calls() -> None:
    async def main(ctx: Context) -> None:
        await execute(ctx, "asyncio:timer:1")

    ending = Play(main).start().ending
    assert isinstance(ending, Fail)
    assert isinstance(ending.exception, InvalidArgument)


def test_the_clock_never_goes_back() -> None:
    async def main(ctx: Context) -> list[float]:
        times = []
        for index in range(3):
            await execute(ctx, f"call {index}")
            times.append(asyncio.get_running_loop().time())
        return times

    play = Play(main).start()
    play.answer("call 0")
    play.now -= timedelta(hours=1)
    play.answer("call 1")
    play.answer("call 2")
    times = play.result
    assert times == sorted(times)
    play.check_replays()


def test_the_clock_does_not_go_back_after_a_replay_in_which_the_code_did_not_always_ask() -> None:
    """Of an answer after which it did not ask, the time of the flush is recorded, by the database's clock, which may
    have been set back."""

    async def main(ctx: Context) -> list[float]:
        times = []
        for index in range(3):
            await execute(ctx, f"call {index}")
            if index != 1:
                times.append(asyncio.get_running_loop().time())
        return times

    play = Play(main).start()
    play.answer("call 0")
    play.now -= timedelta(hours=1)
    play.answer("call 1")
    replay = machine_of(main, History(tuple(play.memos)), BEGAN)
    replay.loop.clock = lambda: play.now
    replay.start()
    _, (ending,) = replay.resolve("call 2", Value("2"))
    assert isinstance(ending, Complete)
    times = msgspec.json.decode(ending.output)
    assert times == sorted(times)


def test_code_that_a_timer_wakes_finds_that_its_time_has_come() -> None:
    """anyio arms the timer again otherwise. ``when`` is a float, and a moment has microseconds."""

    async def main(ctx: Context) -> bool:
        loop = asyncio.get_running_loop()
        when = loop.time() + 0.123456789
        woken = loop.create_future()
        loop.call_at(when, woken.set_result, None)
        await woken
        return loop.time() >= when

    play = Play(main).start()
    play.now = BEGAN - timedelta(seconds=1)  # the worker's timer fires early
    _, (ending,) = play.machine.resolve("asyncio:timer:1", TimedOut())
    assert ending == Complete("true")


def test_a_timer_that_had_fired_and_is_no_longer_armed_sets_the_run_aside() -> None:
    async def main(ctx: Context) -> None:
        await execute(ctx, "call")

    fired = Memo("asyncio:timer:1", "timer", "", 1, False, ELAPSED, BEGAN)
    (command,) = machine_of(main, History((fired,))).start()
    assert isinstance(command, SetAside)
    assert "timer 1 of asyncio" in str(command.error)


def test_a_timer_that_had_not_fired_and_is_no_longer_armed_is_dropped() -> None:
    """It has had no influence. Its row would wake the run again and again."""

    async def main(ctx: Context) -> Any:
        return await execute(ctx, "call")

    open_timer = OpenWait("asyncio:timer:1", "timer", "")
    commands = machine_of(main, History((), (open_timer,))).start()
    assert [command.call.key for command in commands if isinstance(command, Abandon)] == ["asyncio:timer:1"]
    assert not any(isinstance(command, SetAside) for command in commands)


@pytest.mark.parametrize("delay", [5, 1e12])
def test_an_open_timer_that_changed_code_cancels_at_once_or_never_lets_fire_is_dropped(delay: float) -> None:
    async def main(ctx: Context) -> Any:
        timer = asyncio.get_running_loop().call_later(delay, list)
        if delay == 5:
            timer.cancel()
        return await execute(ctx, "call")

    open_timer = OpenWait("asyncio:timer:1", "timer", "")
    commands = machine_of(main, History((), (open_timer,))).start()
    assert [command.call.key for command in commands if isinstance(command, Abandon)] == ["asyncio:timer:1"]


def test_a_timer_that_is_open_already_says_so() -> None:
    commands = machine_of(a_sleep, History((), (OpenWait("asyncio:timer:1", "timer", ""),))).start()
    assert [command.is_open for command in commands if isinstance(command, ArmTimer)] == [True]


def test_a_cancel_ends_the_timers() -> None:
    async def main(ctx: Context) -> str:
        try:
            await asyncio.wait_for(execute(ctx, "call"), 60)
        finally:
            await execute(ctx, "clean up")
        return "never"

    play = Play(main).start()
    play.cancel()
    assert "asyncio:timer:1" in play.abandoned
    play.answer("clean up")
    play.check_replays()
