"""Workflow code that reads clocks or draws numbers by itself is warned of when it is defined."""

from __future__ import annotations

import datetime as dates
import os
import random
import secrets
import time
import uuid
import warnings
from collections.abc import Callable
from datetime import datetime
from random import choice
from time import time as clock
from typing import Any
from uuid import uuid4

import pytest

from durable import Context, WorkflowCodeWarning, workflow


async def reads_the_clock(ctx: Context) -> float:
    return time.time()


async def reads_it_under_another_name(ctx: Context) -> float:
    return clock()


async def asks_for_the_date(ctx: Context) -> str:
    return str(datetime.now()) + str(dates.date.today())


async def makes_an_id(ctx: Context) -> uuid.UUID:
    return uuid4() if await ctx.random("coin") < 0.5 else uuid.uuid1()


async def draws(ctx: Context) -> Any:
    return [random.randint(1, 6), choice("ab"), secrets.token_hex(), os.urandom(4)]


async def holds_up_everybody(ctx: Context) -> None:
    for _ in range(3):
        time.sleep(1)


@pytest.mark.parametrize(
    ("function", "calls", "advice"),
    [
        (reads_the_clock, ["time.time"], "ctx.now"),
        (reads_it_under_another_name, ["clock"], "ctx.now"),
        (asks_for_the_date, ["datetime.now", "dates.date.today"], "ctx.now"),
        (makes_an_id, ["uuid4", "uuid.uuid1"], "ctx.random_uuid7"),
        (draws, ["random.randint", "choice", "secrets.token_hex", "os.urandom"], "ctx.random"),
        (holds_up_everybody, ["time.sleep"], "ctx.sleep"),
    ],
)
def test_what_a_replay_would_answer_differently_is_named_with_what_to_write(
    function: Callable[..., Any], calls: list[str], advice: str
) -> None:
    with pytest.warns(WorkflowCodeWarning) as caught:
        workflow(function)
    messages = [str(warning.message) for warning in caught]
    assert [f"calls {call}()" in message for call, message in zip(calls, messages, strict=True)] == [True] * len(calls)
    assert all(advice in message for message in messages)
    assert all(warning.filename == __file__ for warning in caught)


def test_what_steps_do_is_their_own_affair() -> None:
    def roll() -> int:
        return random.randint(1, 6)

    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @workflow
        async def rolling(ctx: Context) -> list[Any]:
            async def wait() -> float:
                time.sleep(0)
                return time.time()

            now = await ctx.execute("now", time.time)
            later = (await ctx.now("later")).timestamp()
            return [now, later, await ctx.execute("roll", roll), await ctx.execute("wait", wait)]


def test_a_workflow_whose_source_cannot_be_read_is_taken_as_it_is() -> None:
    names: dict[str, Any] = {"time": time}
    exec("async def written(ctx): return time.time()", names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        workflow(names["written"])
