"""The threads in which steps that are plain functions run.

Nothing can stop a thread from outside, so a call that was cancelled or has timed out goes on, and keeps its thread,
until its function returns. The threads are daemons: those of ``concurrent.futures`` would keep the process alive for as
long as one of them hangs.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from durable.core.runs import RunKey
from durable.worker.outages import FailureLog

_LOOK_SECONDS = 1.0
"""Between two looks at steps that wait for a thread."""
_STANDSTILL_SECONDS = 60.0
"""Threads that are merely busy are reported if none has become free for this long."""
_MAX_NAMED = 5


class ThreadCall:
    """One call of a step's function, in its thread."""

    __slots__ = ("_ended", "_error", "_function", "_loop", "_value", "is_given_up", "run_key", "started", "step_key")

    def __init__(self, run_key: RunKey, step_key: str, function: Callable[[], Any]) -> None:
        self.run_key = run_key
        self.step_key = step_key
        self.started = time.monotonic()
        self.is_given_up = False
        """Whether nothing is done with its result any more."""
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def ends_within(self, seconds: float | None) -> bool:
        """Returns whether the thread has ended, once it has or that many seconds have passed. If the wait is cancelled,
        it still lasts until the thread has ended, and then raises; a second cancel ends it at once."""
        try:
            await asyncio.wait([self._ended], timeout=seconds)
        except asyncio.CancelledError:
            self.is_given_up = True
            await asyncio.wait([self._ended])
            raise
        return self._ended.done()

    def result(self) -> Any:
        """Returns what the function returned, or raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._value

    def run(self, ended: Callable[[ThreadCall], None]) -> None:
        """Calls the function. Runs in the thread; ``ended`` is called in the event loop."""
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error
        del self._function  # it holds the arguments
        with suppress(RuntimeError):  # the loop is closed: the worker has ended long ago
            self._loop.call_soon_threadsafe(ended, self)

    def __str__(self) -> str:
        return f"step {self.step_key!r} of run {self.run_key}"

    def end(self) -> None:
        """Notes that the thread has ended."""
        self._ended.set_result(None)
        if self.is_given_up and asyncio.iscoroutine(self._value):
            self._value.close()  # it will never be awaited, and Python would warn of that


class StepThreads:
    """Up to ``most`` threads, each made when it is needed for the first time."""

    def __init__(self, most: int, log: FailureLog) -> None:
        self._most = most
        self._log = log
        self._handed: SimpleQueue[ThreadCall | None] = SimpleQueue()
        self._count = 0
        self._running: set[ThreadCall] = set()
        self._waiting: dict[ThreadCall, asyncio.Future[bool]] = {}
        self._is_stopping = False
        self._last_start = 0.0
        self._look: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> int:
        """The number of threads in which a function is being executed."""
        return len(self._running)

    @property
    def hung(self) -> int:
        """The number of those whose step was given up."""
        return sum(call.is_given_up for call in self._running)

    @property
    def awaited(self) -> int:
        """The number of steps that wait for a thread."""
        return len(self._waiting)

    async def begin(self, run_key: RunKey, step_key: str, function: Callable[[], Any]) -> ThreadCall | None:
        """Returns once the call has begun in a thread. Returns ``None``, and does not call the function, if the worker
        begins to stop before a thread is free."""
        call = ThreadCall(run_key, step_key, function)
        if self._is_stopping:
            return None
        if len(self._running) < self._most:
            self._start(call)
            return call
        turn = self._waiting[call] = asyncio.get_running_loop().create_future()
        self._watch()
        try:
            return call if await turn else None
        except asyncio.CancelledError:
            if call in self._running:  # it was cancelled just as it began
                call.is_given_up = True
                await call.ends_within(None)
            raise
        finally:
            self._waiting.pop(call, None)

    def stop_starting(self) -> None:
        """Starts no further call: the steps that wait for a thread are handed back with their runs."""
        self._is_stopping = True
        for turn in self._waiting.values():
            if not turn.done():
                turn.set_result(False)

    def close(self) -> None:
        """Ends the threads, each as soon as its function has returned."""
        for _ in range(self._count):
            self._handed.put(None)
        if self._look is not None:
            self._look.cancel()

    def _start(self, call: ThreadCall) -> None:
        if self._count == len(self._running):
            threading.Thread(target=_work, args=(self._handed, self._ended), name="durable-step", daemon=True).start()
            self._count += 1
        self._running.add(call)
        self._last_start = call.started = time.monotonic()
        self._handed.put(call)

    def _ended(self, call: ThreadCall) -> None:
        self._running.discard(call)
        call.end()
        while self._waiting and not self._is_stopping:
            following = next(iter(self._waiting))
            turn = self._waiting.pop(following)
            if turn.done():
                continue
            try:
                self._start(following)
            except RuntimeError as error:  # the system has no thread to give
                turn.set_exception(error)
            else:
                turn.set_result(True)
                return

    # what is said of it

    def _watch(self) -> None:
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_at_threads)

    def _look_at_threads(self) -> None:
        self._look = None
        if not self._waiting or self._is_stopping:
            return
        self._watch()
        if self.hung == len(self._running):
            self._say(logging.ERROR, "no sync step can start: the steps in all %d threads were given up and still run")
        elif time.monotonic() - self._last_start > _STANDSTILL_SECONDS:
            self._say(logging.WARNING, "no sync step has started for a minute: all %d threads are busy")

    def _say(self, level: int, message: str) -> None:
        longest = sorted(self._running, key=lambda call: call.started)[:_MAX_NAMED]
        now = time.monotonic()
        named = ", ".join(f"{call} ({now - call.started:.0f} s)" for call in longest)
        self._log.say(level, message + "; %d steps wait for one; longest: %s", self.busy, self.awaited, named)


def _work(handed: SimpleQueue[ThreadCall | None], ended: Callable[[ThreadCall], None]) -> None:
    while (call := handed.get()) is not None:
        call.run(ended)
        del call  # or its value would live until the next call
