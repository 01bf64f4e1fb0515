"""The private loop: what workflow code can rely on."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import pytest

from durable import Context
from durable.core.replay.commands import Complete
from durable.core.replay.history import History
from tests.laws.programs import machine_of


async def through_wait(ctx: Context) -> list[str]:
    tasks = [asyncio.ensure_future(asyncio.Event().wait()) for _ in range(20)]
    numbers = {task: str(index) for index, task in enumerate(tasks)}
    first = asyncio.ensure_future(asyncio.sleep(0))
    _, pending = await asyncio.wait([first, *tasks], return_when=asyncio.FIRST_COMPLETED)
    order = [numbers[task] for task in pending]
    for task in tasks:
        task.cancel()
    return order


async def through_a_group(ctx: Context) -> list[str]:
    order: list[str] = []

    async def unwind(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            order.append(name)

    try:
        async with asyncio.TaskGroup() as group:
            for index in range(20):
                group.create_task(unwind(str(index)))
            await asyncio.sleep(0)
            raise ValueError
    except* ValueError:
        pass
    return order


@pytest.mark.parametrize("main", [through_wait, through_a_group])
def test_sets_of_tasks_have_the_same_order_on_every_replay(main: Any) -> None:
    """By default that is the order of addresses: a cancelled group would clean up in another order after a crash."""
    ballast: list[Any] = []
    orders = set()
    for _ in range(10):
        (ending,) = machine_of(main, History()).start()
        assert isinstance(ending, Complete)
        orders.add(ending.output)
        ballast.append([object() for _ in range(37)])
    assert len(orders) == 1


def test_code_that_awaits_while_it_is_unwound_leaves_nothing_to_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    unwound: list[str] = []

    async def inner(ctx: Context) -> None:
        try:
            await ctx.sleep("nap", 1)
        finally:
            await asyncio.gather(asyncio.Event().wait(), return_exceptions=True)

    async def main(ctx: Context) -> None:
        try:
            await inner(ctx)
        finally:
            try:
                await inner(ctx)
            finally:
                unwound.append("all of it")

    machine = machine_of(main, History())
    machine.start()
    machine.close()
    assert unwound == ["all of it"]
    del machine
    gc.collect()
    assert complaints == []


def test_code_that_will_not_be_unwound_is_let_go(caplog: pytest.LogCaptureFixture) -> None:
    async def main(ctx: Context) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except GeneratorExit:
                raise
            except BaseException:
                continue

    machine = machine_of(main, History())
    machine.start()
    machine.close()
    assert "did not stop when it was unwound" in caplog.text
