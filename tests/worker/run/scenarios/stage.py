"""What a scenario is given: steps that take as long as the seed says, gates, and a way to record who won."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from durable import Call, Context, RetryPolicy, StepFailed, Workflow, workflow

LONGEST = 0.12
"""How many seconds a step takes at most, and about when the timers of the scenarios are due."""
GATE = "go"
"""The event that is published to a run of a scenario each time it is parked for it."""
EARLY = "early"
"""The event that is published soon after the run has begun, at a moment that is drawn."""


class Played(msgspec.Struct, frozen=True):
    """The input of a run."""

    scenario: str
    seed: int


Scenario = Callable[["Stage"], Awaitable[Any]]

SCENARIOS: dict[str, Scenario] = {}
RACES: set[str] = set()
"""The scenarios whose value depends on who wins. The value of any other is the same whatever happens."""


def scenario(body: Scenario) -> Scenario:
    SCENARIOS[body.__name__] = body
    return body


def race(body: Scenario) -> Scenario:
    RACES.add(body.__name__)
    return scenario(body)


async def work(what: str, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return what


async def fail(what: str, seconds: float) -> str:
    await asyncio.sleep(seconds)
    raise ValueError(what)


async def note(who: str) -> str:
    return who


@workflow(concurrency=1000)
async def child(ctx: Context, seconds: float) -> str:
    return await ctx.execute("work", work, f"after {seconds}", seconds)


class Stage:
    """``order`` is what the code has seen, in the order in which it has seen it."""

    def __init__(self, ctx: Context, played: Played) -> None:
        self.ctx = ctx
        self.order: list[str] = []
        self._played = played

    def seconds(self, key: str) -> float:
        """How long that step takes."""
        return random.Random(f"{self._played.scenario} {self._played.seed} {key}").random() * LONGEST

    def saw(self, what: str) -> str:
        self.order.append(what)
        return what

    async def step(self, key: str) -> str:
        return self.saw(await self.ctx.execute(key, work, key, self.seconds(key)))

    async def steps(self, *keys: str) -> list[str]:
        """One after the other."""
        return [await self.step(key) for key in keys]

    async def failing(self, key: str) -> str:
        try:
            return await self.ctx.execute(Call(key, retry=RetryPolicy(max_retries=0)), fail, key, self.seconds(key))
        except StepFailed:
            self.saw(f"{key} failed")
            raise

    async def gate(self, key: str = "gate") -> str:
        """Parks the run, unless a step is under way."""
        await self.ctx.wait_for_event(key, GATE, str)
        return self.saw(key)

    async def early(self, key: str) -> str:
        await self.ctx.wait_for_event(key, EARLY, str)
        return self.saw(key)

    async def child(self, key: str) -> str:
        await self.ctx.run_child(key, child, self.seconds(key))
        return self.saw(key)

    async def nap(self, key: str) -> str:
        await self.ctx.sleep(key, self.seconds(key))
        return self.saw(key)

    async def won(self, contest: str, who: str) -> None:
        await self.ctx.execute(f"winner of {contest}", note, who)

    async def won_first(self, contest: str, *contestants: Awaitable[str]) -> list[str]:
        """Records which of them is first, and returns that with what becomes of the others."""
        tasks = [asyncio.ensure_future(one) for one in contestants]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = [task.result() for task in tasks if task in done]
        await self.won(contest, ", ".join(first))
        return first + [await task for task in tasks if task in pending]


passes: dict[Played, int] = {}
"""How often the code of a run was executed from its top in this process."""


@workflow(concurrency=1000)
async def played(ctx: Context, run: Played) -> list[Any]:
    passes[run] = passes.get(run, 0) + 1
    stage = Stage(ctx, run)
    value = await SCENARIOS[run.scenario](stage)
    await stage.won("all", stage.order[0])
    await stage.gate("the last gate")
    await stage.step("the last step")
    return [value, stage.order]


WORKFLOWS: list[Workflow[Any, Any]] = [played, child]
