"""Scenarios in which asyncio's timers race against calls."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import tenacity

from durable import StepFailed
from tests.worker.run.scenarios.stage import LONGEST, Stage, race

HALF = LONGEST / 2


@race
async def waits_with_a_timeout(stage: Stage) -> Any:
    tasks = [asyncio.create_task(stage.step(key)) for key in "abcd"] + [asyncio.create_task(stage.gate())]
    rounds: list[list[str]] = []
    while tasks:
        done, _ = await asyncio.wait(tasks, timeout=LONGEST / 4)
        rounds.append([task.result() for task in tasks if task in done])
        tasks = [task for task in tasks if task not in done]
        if len(rounds) < 4:
            await stage.won(f"round {len(rounds)}", str(rounds[-1]))
    return [found for found in rounds if found]


@race
async def steps_in_time(stage: Stage) -> Any:
    async def one(index: int) -> str:
        try:
            return await asyncio.wait_for(stage.steps(f"{index} a", f"{index} b"), HALF * (1 + index / 2)) and "in time"
        except TimeoutError:
            return await stage.step(f"{index} was too late")

    ends = await asyncio.gather(*map(one, range(4)))
    await stage.won("time", str(ends))
    return [ends, await stage.gate()]


@race
async def events_in_time(stage: Stage) -> Any:
    async def one(key: str, event: str, limit: float) -> str:
        try:
            await asyncio.wait_for(stage.ctx.wait_for_event(key, event, str), limit)
        except TimeoutError:
            return stage.saw(f"{key} timed out")
        return stage.saw(key)

    ends = await asyncio.gather(one("a", "early", HALF), one("b", "never", HALF), one("c", "go", 60))
    await stage.won("events", str(ends))
    return ends


@race
async def children_in_time(stage: Stage) -> Any:
    ends: list[str] = []
    for key in "abc":
        try:
            ends.append(await asyncio.wait_for(stage.child(key), HALF * 2))
        except TimeoutError:
            ends.append(stage.saw(f"{key} timed out"))
        await stage.won(f"child {key}", ends[-1])
    return [ends, await stage.gate()]


@race
async def nested_timeouts(stage: Stage) -> Any:
    found: list[str] = []
    try:
        async with asyncio.timeout(LONGEST * 1.5) as outer:
            for index in range(5):
                try:
                    async with asyncio.timeout(HALF):
                        found.append(await stage.step(f"step {index}"))
                except TimeoutError:
                    found.append("inner")
            outer.reschedule(asyncio.get_running_loop().time() + HALF)
            await stage.step("at last")
    except TimeoutError:
        found.append("outer")
    await stage.won("timeouts", str(found))
    return [found, await stage.gate()]


@race
async def an_event_against_sleeps(stage: Stage) -> Any:
    async def sleep(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return stage.saw(f"asyncio {seconds > HALF}")

    first = await stage.won_first(
        "race", stage.early("early"), sleep(HALF * 0.8), sleep(HALF * 1.2), stage.nap("nap"), stage.gate()
    )
    return [first, stage.order]


@race
async def moved_on_by_anyio(stage: Stage) -> Any:
    found: list[Any] = []
    for index in range(3):
        with anyio.move_on_after(HALF) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(stage.step, f"{index} a")
                group.start_soon(stage.steps, f"{index} b", f"{index} c")
        found.append(scope.cancelled_caught)
        await stage.won(f"scope {index}", str(found[-1]))
    await anyio.sleep(HALF)
    return [found, stage.order, await stage.gate()]


@race
async def failed_by_anyio(stage: Stage) -> Any:
    found: list[str] = []
    for index in range(3):
        try:
            with anyio.fail_after(HALF):
                with anyio.CancelScope(shield=index == 1):
                    found.append(await stage.step(f"step {index}"))
        except TimeoutError:
            found.append(await stage.step(f"{index} was too late"))
    await stage.won("limits", str(found))
    return [found, await stage.gate()]


@race
async def retried_by_tenacity(stage: Stage) -> Any:
    tries: list[int] = []
    retrying = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(4),
        wait=tenacity.wait_fixed(0.02),
        retry=tenacity.retry_if_exception_type((StepFailed, TimeoutError)),
    )
    async for attempt in retrying:
        with attempt:
            tries.append(attempt.retry_state.attempt_number)
            if tries[-1] < 3:
                async with asyncio.timeout(HALF):
                    await stage.failing(f"try {tries[-1]}")
            await stage.step("at last")
    await stage.won("tries", str(tries))
    return [tries, stage.order, await stage.gate()]


@race
async def called_later(stage: Stage) -> Any:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    handles = [loop.call_later(HALF * part, stage.saw, f"later {part}") for part in (0.6, 0.9, 1.2, 1.5)]
    loop.call_later(HALF * 1.8, done.set_result, None)
    await stage.step("a")
    handles[2].cancel()
    await asyncio.gather(stage.step("b"), stage.gate(), done)
    await stage.won("callbacks", stage.order[1])
    return stage.order


@race
async def told_the_time(stage: Stage) -> Any:
    loop = asyncio.get_running_loop()
    times = [loop.time()]

    async def note(waiting: Any) -> None:
        await waiting
        times.append(loop.time())

    async with asyncio.TaskGroup() as group:
        for waiting in (stage.step("a"), stage.gate(), asyncio.sleep(HALF), stage.nap("nap"), stage.child("child")):
            group.create_task(note(waiting))
    try:
        async with asyncio.timeout_at(times[0] + LONGEST * 2):
            await stage.step("b")
            await asyncio.sleep(LONGEST)
            times.append(-1.0)
    except TimeoutError:
        times.append(loop.time())
    await stage.won("time", str(times[-1] > 0))
    return times
