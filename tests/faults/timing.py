"""The workflow whose waits are asyncio's timers: a sleep, an alarm, and timeouts around steps and events."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

import msgspec

from durable import Call, Context, workflow
from tests.faults.effects import STEADFAST, effect

SLEEP_TIMER = "asyncio:timer:1"
ALARM_TIMER = "asyncio:timer:2"
_BEFORE_RACES = 2


class Race(msgspec.Struct, frozen=True):
    """A step of so many seconds, or an event, against a timeout of ``patience`` seconds."""

    of: Literal["step", "event"]
    seconds: float
    patience: float

    @staticmethod
    def timer(number: int) -> str:
        """The key of the timeout of that race; the first is 0."""
        return f"asyncio:timer:{number + _BEFORE_RACES + 1}"


class Timing(msgspec.Struct, frozen=True):
    number: int
    nap: float
    alarm: float
    races: list[Race]


class Timed(msgspec.Struct, frozen=True):
    """``slept``: by the clock of the loop. ``alarms``: how often the alarm rang."""

    before: datetime
    after: datetime
    slept: float
    alarms: int
    outcomes: list[str]


@workflow
async def timing(ctx: Context, order: Timing) -> Timed:
    loop = asyncio.get_running_loop()
    rung: list[None] = []
    before, began = await ctx.now("before"), loop.time()
    await asyncio.sleep(order.nap)
    slept, after = loop.time() - began, await ctx.now("after")
    loop.call_later(order.alarm, rung.append, None)
    outcomes = [await _outcome(ctx, number, race) for number, race in enumerate(order.races)]
    return Timed(before, after, slept, len(rung), outcomes)


async def _outcome(ctx: Context, number: int, race: Race) -> str:
    key = f"race {number}"
    try:
        if race.of == "event":
            return await asyncio.wait_for(ctx.wait_for_event(key, "news", str), race.patience)
        async with asyncio.timeout(race.patience):
            return await ctx.execute(Call(key, retry=STEADFAST), effect, ctx.run_id, key, race.seconds)
    except TimeoutError:
        return await ctx.execute(Call(f"late {number}", retry=STEADFAST), effect, ctx.run_id, f"late {number}")
