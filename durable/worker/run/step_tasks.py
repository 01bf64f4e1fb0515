"""The steps of one run: those waiting to start, those running, and those unwinding after a cancel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from itertools import islice

from durable.core.replay.commands import Execute
from durable.core.runs import RunKey
from durable.worker.clock import Clock, Timer
from durable.worker.run.step_calls import Ended

_logger = logging.getLogger("durable.worker")

_UNWIND_SECONDS = 10.0
"""How long a run waits for a step that it has cancelled before it continues. A step in a thread cannot be interrupted,
and ends when its function returns."""
_STARTED_AT_ONCE = 100
"""Steps that a run starts in one turn of the event loop; they take a few milliseconds."""


class StepTasks:
    """Has no reference to the run to which the steps belong: that would be a cycle, left to the garbage collector when
    the run ends."""

    __slots__ = ("_begun", "_clock", "_deferred", "_running", "_unwinding", "startable")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deferred: dict[str, Execute] = {}
        self._begun: frozenset[str] = frozenset()
        """Those that may be called at most once."""
        self.startable: dict[str, Execute] = {}
        """The steps that wait for nothing but their turn, and for what is unwinding."""
        self._running: dict[str, asyncio.Task[Ended]] = {}
        self._unwinding: dict[asyncio.Task[Ended], tuple[str, Timer]] = {}

    @property
    def is_active(self) -> bool:
        """Returns whether code of a step may be executing."""
        return bool(self._running or self._unwinding)

    def is_running(self, key: str) -> bool:
        """Returns whether code of that step may be executing, and is waited for."""
        return key in self._running

    @property
    def is_unwinding(self) -> bool:
        """Returns whether steps that were cancelled have not ended yet, and are waited for."""
        return bool(self._unwinding)

    @property
    def is_waiting(self) -> bool:
        """Returns whether steps are waiting to start."""
        return bool(self._deferred or self.startable)

    @property
    def may_start(self) -> bool:
        """Returns whether steps are waiting for nothing but their turn."""
        return bool(self.startable) and not self._unwinding

    def defer(self, call: Execute) -> None:
        """Has the step started once everything that led to it is written."""
        self._deferred[call.key] = call

    def all_is_written(self) -> None:
        """Lets the deferred steps start."""
        if not self.startable:
            self.startable, self._deferred = self._deferred, self.startable
        else:
            self.startable |= self._deferred
            self._deferred.clear()

    def take_unbegun(self) -> list[Execute]:
        """Takes the steps that may be called at most once and have not been called."""
        waiting = (*self.startable.values(), *self._deferred.values())
        unbegun = [call for call in waiting if call.is_at_most_once and call.key not in self._begun]
        for call in unbegun:
            self.startable.pop(call.key, None)
            self._deferred.pop(call.key, None)
        return unbegun

    def hold_back(self) -> None:
        """Has the steps that may start wait again until everything that led to them is written."""
        self._deferred = self.startable | self._deferred
        self.startable = {}

    def start_some(
        self,
        start: Callable[[Execute], asyncio.Task[Ended]],
        ended: Callable[[Execute, asyncio.Task[Ended]], None],
    ) -> None:
        """Starts the next steps, but not before the cancelled ones have ended, because the next ones may be there to
        undo them."""
        for call in list(islice(self.startable.values(), _STARTED_AT_ONCE if self.may_start else 0)):
            del self.startable[call.key]
            if call.is_at_most_once:
                self._begun |= {call.key}
            task = self._running[call.key] = start(call)
            task.add_done_callback(partial(ended, call))

    def forget(self, key: str, let_go: Callable[[asyncio.Task[Ended]], None]) -> None:
        """Cancels the step with that key, if there is one, because the workflow no longer waits for it. If it takes too
        long to end, ``let_go`` is called with it."""
        self._deferred.pop(key, None)
        self.startable.pop(key, None)
        task = self._running.pop(key, None)
        if task is not None:
            task.cancel()
            task.add_done_callback(_retrieve)
            self._unwinding[task] = key, self._clock.call_later(_UNWIND_SECONDS, let_go, task)

    def forget_all(self, let_go: Callable[[asyncio.Task[Ended]], None]) -> None:
        """Does the same with every step."""
        if self._running:  # going through a dict that has been emptied takes as long as when it was full
            for key in list(self._running):
                self.forget(key, let_go)

    def cancel(self) -> None:
        """Cancels all steps without waiting for them."""
        for task in self._running.values():
            task.cancel()
            task.add_done_callback(_retrieve)
        self._running.clear()
        for _, timer in self._unwinding.values():
            timer.cancel()
        self._unwinding.clear()

    def has_finished(self, call: Execute, task: asyncio.Task[Ended], run_key: RunKey) -> bool:
        """Returns whether the step, which has ended, is still waited for."""
        if self._running.get(call.key) is not task:
            return False
        del self._running[call.key]
        if task.cancelled():
            extra = {"run_key": str(run_key), "step_key": call.key}
            message = "step %r of run %s was cancelled by something other than its run, which is released"
            _logger.warning(message, call.key, run_key, extra=extra)
        return True

    def let_go(self, task: asyncio.Task[Ended], run_key: RunKey) -> bool:
        """Stops waiting for a cancelled step. Returns whether it was being waited for."""
        if task not in self._unwinding:
            return False
        key, timer = self._unwinding.pop(task)
        timer.cancel()
        if not task.done():
            extra = {"run_key": str(run_key), "step_key": key}
            message = "step %r of run %s was cancelled %g s ago and still runs; its run no longer waits for it"
            _logger.warning(message, key, run_key, _UNWIND_SECONDS, extra=extra)
        return True


def _retrieve(task: asyncio.Task[Ended]) -> None:
    """Retrieves the exception of a task that nothing waits for any longer: asyncio would log one that was never
    retrieved."""
    if not task.cancelled():
        task.exception()
