"""The steps of one run: those that are to start, those that run, and those that unwind after a cancel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from durable.core.replay.commands import Execute
from durable.worker.clock import Clock
from durable.worker.run.step_calls import Finished

_logger = logging.getLogger("durable.worker")

_UNWIND_SECONDS = 10.0
"""How long a run waits for a step that it has cancelled, before it goes on."""

_NONE: frozenset[asyncio.Task[Finished]] = frozenset()


class StepTasks:
    """Knows nothing of the run that they belong to: a reference back would be a cycle, left to the garbage collector
    when the run ends."""

    __slots__ = ("_clock", "_deferred", "_running", "_unwinding")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deferred: list[Execute] = []
        self._running: dict[str, asyncio.Task[Finished]] = {}
        self._unwinding: frozenset[asyncio.Task[Finished]] = _NONE

    @property
    def is_active(self) -> bool:
        """Whether code of a step may be executing."""
        return bool(self._running or self._unwinding)

    @property
    def is_waiting(self) -> bool:
        """Whether steps are to start."""
        return bool(self._deferred)

    def defer(self, call: Execute) -> None:
        """Has it started with the next ones."""
        self._deferred.append(call)

    def start_deferred(
        self,
        start: Callable[[Execute], asyncio.Task[Finished]],
        ended: Callable[[Execute, asyncio.Task[Finished]], None],
    ) -> None:
        """Starts what was deferred; not before what was cancelled has ended, for that may be what it makes good."""
        if self._unwinding:
            return
        for call in self._deferred:
            task = self._running[call.key] = start(call)
            task.add_done_callback(partial(ended, call))
        self._deferred.clear()

    def forget(self, key: str, let_go: Callable[[asyncio.Task[Finished]], None]) -> None:
        """Nobody waits for that step any more, if it is one: it is cancelled; where that takes too long, ``let_go`` is
        called with it."""
        self._deferred = [call for call in self._deferred if call.key != key]
        task = self._running.pop(key, None)
        if task is not None:
            task.cancel()
            task.add_done_callback(_retrieve)
            self._unwinding |= {task}
            self._clock.call_later(_UNWIND_SECONDS, let_go, task)

    def cancel(self) -> None:
        """Ends them all, and waits for none."""
        for task in self._running.values():
            task.cancel()
            task.add_done_callback(_retrieve)
        self._running.clear()
        self._unwinding = _NONE

    def has_finished(self, call: Execute, task: asyncio.Task[Finished]) -> bool:
        """Whether the step, which has ended, did so by itself and is waited for."""
        if task.cancelled() or self._running.get(call.key) is not task:
            return False
        del self._running[call.key]
        return True

    def let_go(self, task: asyncio.Task[Finished]) -> bool:
        """Waits for a cancelled step no longer. Returns whether it was waited for."""
        if task not in self._unwinding:
            return False
        self._unwinding -= {task}
        if not task.done():
            _logger.warning("%r was cancelled and goes on; its run does not wait for it any longer", task)
        return True


def _retrieve(task: asyncio.Task[Finished]) -> None:
    """Nobody waits for the task any more; asyncio would log an exception that nobody has asked for."""
    if not task.cancelled():
        task.exception()
