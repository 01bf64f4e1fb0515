"""Failure modes C4, C5: replay and control flow."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

from durable import AsyncClient, Call, Context, RetryPolicy, RunKey, Worker, workflow
from durable.core.codec.json_codec import JsonCodec
from durable.core.replay.commands import Command, Complete, Execute
from durable.core.replay.history import History, Memo, Value
from durable.core.replay.machine import Machine
from tests.watching import reached, rows, until

# C4


async def test_c4_what_a_workflow_swallows_while_it_is_put_away_changes_nothing(database: str) -> None:
    effects: Counter[str] = Counter()

    async def effect(name: str) -> str:
        effects[name] += 1
        return name

    async def fail() -> None:
        effects["fail"] += 1
        raise ValueError("no")

    @workflow
    async def swallowing(ctx: Context) -> str:
        caught = "nothing"
        try:
            # The smallest case in which a suspension that is an exception is lost.
            await asyncio.gather(
                ctx.sleep("nap", 0.05), ctx.execute(Call("fail", retry=RetryPolicy(max_retries=0)), fail)
            )
        except Exception as error:
            caught = type(error).__name__
        try:
            await ctx.wait_for_event("go", "go", str)
        except BaseException:
            return "swallowed"
        finally:
            try:
                await ctx.execute("clean up", effect, "clean up")
            except BaseException:
                effects["refused"] += 1
        return caught

    async with AsyncClient(database) as client, Worker(database, [swallowing], max_resident=1):
        handles = [await client.begin(swallowing) for _ in range(4)]
        for handle in handles:
            await reached(client, handle.run_key, "waiting_event")
        await until(lambda: effects["refused"] >= 3)  # but one of them were put away
        assert await rows(database, "SELECT DISTINCT step_key FROM durable.steps") == [("fail",)]
        for handle in handles:
            await handle.publish_event("go", "on")
        assert [await handle.result(timeout=10) for handle in handles] == ["StepFailed"] * 4
    assert (effects["fail"], effects["clean up"]) == (4, 4)


# C5


async def work(name: str) -> str:
    return name


def started(main: Any, history: History) -> tuple[Machine, list[Command]]:
    machine = Machine(history, JsonCodec(), output=lambda: "the output")
    ctx = Context(machine, RunKey("main_0", "00000000-0000-7000-8000-000000000000"), "main", 1, 1)
    return machine, machine.start(main(ctx))


def test_c5_the_order_in_which_gathered_steps_finish_changes_neither_keys_nor_result() -> None:
    async def main(ctx: Context) -> Any:
        async def branch(index: int) -> list[str]:
            first = await ctx.execute(f"{index} first", work, "first")
            return [first, await ctx.execute(f"{index} second", work, "second")]

        return await asyncio.gather(*(branch(index) for index in range(4)))

    chance = random.Random(5)
    outputs: set[str] = set()
    keys: set[frozenset[str]] = set()
    for _ in range(300):
        machine, commands = started(main, History())
        open_keys = {command.key for command in commands if isinstance(command, Execute)}
        order: list[str] = []
        while open_keys:
            key = chance.choice(sorted(open_keys))
            open_keys.remove(key)
            order.append(key)
            _, commands = machine.resolve(key, Value(f'"{key}"'))
            open_keys |= {command.key for command in commands if isinstance(command, Execute)}
        (ending,) = commands
        assert isinstance(ending, Complete)
        memos = tuple(
            Memo(key, "execute", work.__qualname__, seq, False, Value(f'"{key}"')) for seq, key in enumerate(order, 1)
        )
        assert started(main, History(memos))[1] == [ending]
        outputs.add(ending.output)
        keys.add(frozenset(order))
    assert len(outputs) == len(keys) == 1
