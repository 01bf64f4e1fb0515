"""Small generated workflows, and a world that answers them, crashing when told to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import msgspec
from hypothesis import strategies as st

from durable import Context, RunKey, StepFailed
from durable.core.codec import JsonCodec
from durable.core.commands import (
    Abandon,
    Command,
    Complete,
    Draw,
    EndCancelled,
    Execute,
    Fail,
    SetAside,
    Sleep,
    Transact,
    WaitEvent,
)
from durable.core.errors import ErrorInfo, EventTimeout
from durable.core.history import ELAPSED, Cancel, Failure, History, Kind, Memo, OpenWait, Outcome, TimedOut, Value
from durable.core.machine import Machine

Main = Callable[[Context], Coroutine[Any, Any, Any]]


Ended: TypeAlias = Complete | Fail | EndCancelled | SetAside


class Leaf(msgspec.Struct, frozen=True):
    kind: str
    fails: bool = False


class Block(msgspec.Struct, frozen=True):
    how: str  # "seq", "gather", "group", "race", "guard"
    parts: tuple[Any, ...]


def programs() -> st.SearchStrategy[Any]:
    leaves = st.builds(
        Leaf, st.sampled_from(["execute", "transaction", "sleep", "event", "random", "now"]), st.booleans()
    )
    return st.recursive(
        leaves,
        lambda inner: st.builds(
            Block,
            st.sampled_from(["seq", "gather", "group", "race", "guard"]),
            st.lists(inner, min_size=1, max_size=3).map(tuple),
        ),
        max_leaves=10,
    )


async def do(x: str) -> str:
    return x


async def do_tx(tx: Any, x: str) -> str:
    return x


async def interpret(ctx: Context, node: Any, path: str) -> Any:
    match node:
        case Leaf("execute"):
            return await ctx.execute(path, do, path)
        case Leaf("transaction"):
            return await ctx.transaction(path, do_tx, path)
        case Leaf("sleep"):
            return await ctx.sleep(path, 1)
        case Leaf("event"):
            try:
                return await ctx.wait_for_event(path, "news", timeout=1)
            except EventTimeout:
                return "timeout"
        case Leaf("random"):
            return await ctx.random_uint64(path)
        case Leaf("now"):
            return str(await ctx.now(path))
        case Block("seq", parts):
            return [await interpret(ctx, part, f"{path}.{i}") for i, part in enumerate(parts)]
        case Block("gather", parts):
            return await asyncio.gather(
                *(interpret(ctx, part, f"{path}.{i}") for i, part in enumerate(parts)), return_exceptions=False
            )
        case Block("group", parts):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(interpret(ctx, part, f"{path}.{i}")) for i, part in enumerate(parts)]
            return [task.result() for task in tasks]
        case Block("race", parts):
            tasks = [asyncio.ensure_future(interpret(ctx, part, f"{path}.{i}")) for i, part in enumerate(parts)]
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            return [i for i, task in enumerate(tasks) if task in done and task.exception() is None]
        case Block("guard", parts):
            results: list[Any] = []
            for i, part in enumerate(parts):
                try:
                    results.append(await interpret(ctx, part, f"{path}.{i}"))
                except (StepFailed, ExceptionGroup) as error:
                    results.append(type(error).__name__)
            return results
    raise AssertionError(node)


def failing_keys(node: Any, path: str = "p") -> set[str]:
    if isinstance(node, Leaf):
        return {path} if node.fails and node.kind in ("execute", "transaction") else set()
    return {key for i, part in enumerate(node.parts) for key in failing_keys(part, f"{path}.{i}")}


def machine_of(main: Main, history: History) -> Machine:
    ctx = Context(RunKey("program_0", "00000000-0000-7000-8000-000000000000"), "program", 1, 1)
    machine = Machine(lambda: main(ctx), history, JsonCodec(), output="the output")
    ctx.attach(machine)
    return machine


class World:
    """Answers one machine's commands in an order drawn by ``seed``; what is recorded survives ``crash``."""

    def __init__(
        self, main: Main, failing: set[str], seed: int, crash_at: set[int], cancel_at: int | None = None
    ) -> None:
        self.main = main
        self.failing = failing
        self.random = random.Random(seed)
        self.crash_at = crash_at
        self.cancel_at = cancel_at
        self.memos: dict[str, Memo] = {}
        self.open: dict[str, OpenWait] = {}
        self.performed: list[str] = []
        self.moments = 0
        self.crashes = 0

    def history(self) -> History:
        return History(tuple(self.memos.values()), tuple(self.open.values()))

    def run(self) -> Ended:
        """To the end, replaying after each crash."""
        while True:
            machine = machine_of(self.main, self.history())
            pending: dict[str, Any] = {}
            ending = self._take(machine.start(), pending)
            for key, seq in machine.unordered():
                self.memos[key] = msgspec.structs.replace(self.memos[key], seq=seq)
            while ending is None and not self._crashes():
                if self.cancel_at is not None and self.moments >= self.cancel_at:
                    ending = self._cancel(machine, pending)
                else:
                    ending = self._answer_one(machine, pending)
            machine.close()
            if ending is not None:
                return ending
            self.crashes += 1

    def _crashes(self) -> bool:
        self.moments += 1
        return self.moments in self.crash_at

    def _cancel(self, machine: Machine, pending: dict[str, Any]) -> Ended | None:
        cancel = Cancel("request", "enough")
        seq, commands = machine.cancel(cancel)
        assert seq is not None
        if self._crashes():
            self.moments -= 1
            self.crash_at = {*self.crash_at, self.moments + 1}
            return None  # it was not recorded, so it is asked for again
        self.cancel_at = None
        self.memos[cancel.key] = Memo(cancel.key, "cancel", cancel.cause, seq, False, Value(cancel.text))
        return self._take(commands, pending)

    def _answer_one(self, machine: Machine, pending: dict[str, Any]) -> Ended | None:
        call = pending.pop(self.random.choice(sorted(pending)))
        outcome = self._outcome(call)
        if isinstance(call, Transact) and isinstance(outcome, Value):
            self._record(call, outcome, None)  # committed before the run sees it
            if self._crashes():
                pending.clear()
                self.moments -= 1
                self.crash_at = {*self.crash_at, self.moments + 1}
                return None
        seq, commands = machine.resolve(call.key, outcome)
        if self._crashes() and not isinstance(call, Transact):
            self.moments -= 1
            self.crash_at = {*self.crash_at, self.moments + 1}
            return None  # the answer was given but never became durable, and neither has anything after it
        if seq is not None:
            self._record(call, outcome, seq)
        return self._take(commands, pending)

    def _record(self, call: Any, outcome: Outcome, seq: int | None) -> None:
        self.open.pop(call.key, None)
        self.memos[call.key] = Memo(call.key, call.kind, call.name, seq, False, outcome)

    def _take(self, commands: list[Command], pending: dict[str, Any]) -> Ended | None:
        for command in commands:
            match command:
                case Abandon(call):
                    pending.pop(call.key, None)
                    self.open.pop(call.key, None)
                case Complete() | Fail() | EndCancelled() | SetAside():
                    return command
                case Execute() | Transact() | Draw():
                    assert command.key not in self.memos, f"{command} was recorded and is asked for again"
                    self.performed.append(command.key)
                    pending[command.key] = command
                case Sleep() | WaitEvent():
                    assert command.key not in self.memos, f"{command} was recorded and is asked for again"
                    kind: Kind = command.kind
                    self.open[command.key] = OpenWait(command.key, kind, command.name)
                    pending[command.key] = command
        return None

    def _outcome(self, call: Any) -> Outcome:
        match call:
            case Draw():
                value = '"2026-01-01T00:00:00Z"' if call.source == "now" else str(self.random.randrange(1000))
                return Value(value)
            case Sleep():
                return ELAPSED
            case WaitEvent():
                return TimedOut() if self.random.random() < 0.5 else Value('"extra"')
            case _ if call.key in self.failing:
                return Failure(ErrorInfo("Boom", call.key))
            case _:
                return Value(f'"{call.key}"')
