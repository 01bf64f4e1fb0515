"""Plays workflow code on the bare machine: answers its calls in a random order, lets time pass, and then replays every
prefix of what was recorded on a machine of its own."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Collection, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from durable import Context, ErrorInfo, RunKey
from durable.core.codec.json_codec import JsonCodec
from durable.core.replay.commands import (
    Abandon,
    ArmTimer,
    Call,
    Command,
    Complete,
    EndCancelled,
    Execute,
    Fail,
    Patch,
    SetAside,
    Sleep,
)
from durable.core.replay.generators import watch_generators
from durable.core.replay.history import ELAPSED, Cancel, Failure, History, Memo, OpenWait, Outcome, TimedOut, Value
from durable.core.replay.machine import Machine

Main = Callable[[Context], Coroutine[Any, Any, Any]]
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_RUN = RunKey("program_0", "01940000-0000-7000-8000-0123456789ab")
_DECIDED = (Complete, Fail, EndCancelled, SetAside)


class Play:
    """One run of the code. ``now`` only moves when the machine has nothing else to wait for, or by up to a second with
    an answer. The steps whose keys ``fails`` names fail for good."""

    def __init__(self, main: Main, seed: int = 0, *, salt: int = 1 << 20, fails: Collection[str] = ()) -> None:
        self.main = main
        self.fails = fails
        self.salt = salt
        self.now = BEGAN
        self.memos: list[Memo] = []
        self.armed: list[ArmTimer] = []
        self.abandoned: list[str] = []
        self.ending: Command | None = None
        self._chance = random.Random(seed)
        self._open: dict[str, tuple[Call, datetime]] = {}
        self.machine = self._machine(History())

    def _machine(self, history: History) -> Machine:
        # The clock of a replay is another one: nothing that it says may be seen.
        clock = (lambda: self.now) if not history.memos else (lambda: self.now + timedelta(days=3))
        watch_generators()
        return Machine(history, JsonCodec(), output=lambda: "the output", began=BEGAN, clock=clock, salt=self.salt)

    def start(self) -> Play:
        self._take(self.machine.start(self.main(_context(self.machine))))
        return self

    def to_the_end(self) -> Play:
        """Plays until the code has decided, and drops the machine."""
        self.start()
        while self.ending is None:
            self.step()
        self.machine.close()
        return self

    def step(self) -> None:
        """Answers one call."""
        ready = [key for key, (call, _) in self._open.items() if not isinstance(call, Sleep)]
        key = self._chance.choice(ready) if ready and self._chance.random() < 0.8 else self._next_due(ready)
        self.answer(key)

    def answer(self, key: str) -> None:
        call, due = self._open.pop(key)
        if isinstance(call, Sleep):
            self.now = max(self.now, due)
            outcome: Outcome = TimedOut() if isinstance(call, ArmTimer) and not call.is_sleep else ELAPSED
        else:
            self.now += timedelta(microseconds=self._chance.randrange(1_000_000))
            outcome = Value(str(len(self.memos)))
            if key in self.fails:
                outcome = Failure(ErrorInfo("ValueError", f"no {key}"))
        seq, commands = self.machine.resolve(key, outcome)
        if seq is not None:
            at = self.machine.moment or self.now + timedelta(milliseconds=1)  # as the time of a flush
            self.memos.append(Memo(key, call.kind, call.name, seq, False, outcome, at))
        self._take(commands)

    def cancel(self) -> None:
        cancel = Cancel("request", "why not")
        seq, commands = self.machine.cancel(cancel)
        if seq is not None:
            at = self.machine.moment or self.now
            self.memos.append(Memo("", "cancel", "request", seq, False, Value(cancel.text), at))
        self._take(commands)

    def _next_due(self, ready: list[str]) -> str:
        sleeps = [(due, key) for key, (call, due) in self._open.items() if isinstance(call, Sleep)]
        return min(sleeps, key=lambda sleep: sleep[0])[1] if sleeps else self._chance.choice(ready)

    def _take(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Abandon(call):
                    self._open.pop(call.key, None)
                    self.abandoned.append(call.key)
                case Patch(key, is_patched):
                    self.memos.append(Memo(key, "patched", "", None, True, Value(str(is_patched).lower())))
                case Complete() | Fail() | EndCancelled() | SetAside():
                    self.ending = command
                case Sleep():
                    if isinstance(command, ArmTimer):
                        self.armed.append(command)
                    self._open[command.key] = (command, self.now + timedelta(seconds=command.seconds))
                case _:
                    assert isinstance(command, Call)
                    self._open[command.key] = (command, self.now)

    @property
    def open_keys(self) -> list[str]:
        """The calls that wait for an answer, in the order in which they were made."""
        return list(self._open)

    @property
    def result(self) -> Any:
        """What the code returned; raises what it raised."""
        if isinstance(self.ending, Fail):
            raise self.ending.exception
        assert isinstance(self.ending, Complete), self.ending
        return JsonCodec().decode(self.ending.output, Any, "the output")

    def check_replays(self) -> None:
        """Replays every prefix, and asserts that the code goes the same way."""
        for length in range(len(self.memos) + 1):
            again = self._machine(History(tuple(self.memos[:length])))
            commands = again.start(self.main(_context(again)))
            later = [memo.key for memo in self.memos[length:] if memo.key]
            for memo in self.memos[length:]:
                if memo.carried:
                    continue  # it was decided again
                assert not any(isinstance(command, SetAside) for command in commands), (length, commands)
                again.loop.clock = lambda at=memo.at: at
                if memo.kind == "cancel":
                    _, commands = again.cancel(Cancel("request", "why not"))
                else:
                    _, commands = again.resolve(memo.key, memo.outcome)
            shown = [_shown(command) for command in commands if isinstance(command, _DECIDED)]
            assert shown == [_shown(self.ending)], (length, later)
            again.close()
            gc.collect(0)


def _context(machine: Machine) -> Context:
    return Context(machine, _RUN, "program", 1, 1)


def _shown(ending: Command | None) -> str:
    match ending:
        case Fail(error):
            return f"{error.type}: {error.message}"
        case EndCancelled(_, error):
            return f"cancelled, {error}"
        case _:
            return repr(ending)


def open_timers(play: Play) -> tuple[OpenWait, ...]:
    """Returns the timers that a worker would have stored as open."""
    return tuple(OpenWait(call.key, "timer", "") for call, _ in play._open.values() if isinstance(call, ArmTimer))


async def work(what: int = 0) -> int:
    raise AssertionError("the machine does not run steps")


def execute(ctx: Context, key: str) -> Coroutine[Any, Any, Any]:
    return ctx.execute(key, work)


__all__ = ["BEGAN", "Execute", "Main", "Play", "execute", "open_timers", "work"]
