"""The steps of one run: those that are to start, those that run, and those that unwind after a cancel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from durable.core.commands import Execute
from durable.steps import Finished

_logger = logging.getLogger(__name__)

_UNWIND_SECONDS = 10.0
"""How long a run waits for a step that it has cancelled, before it goes on."""


class RunningSteps:
    """``done`` is called with a step that has finished by itself, ``unwound`` when a cancelled one has ended."""

    __slots__ = ("_deferred", "_done", "_running", "_start", "_unwinding", "_unwound")

    def __init__(
        self,
        start: Callable[[Execute], asyncio.Task[Finished]],
        done: Callable[[Execute, asyncio.Task[Finished]], None],
        unwound: Callable[[], None],
    ) -> None:
        self._start = start
        self._done = done
        self._unwound = unwound
        self._deferred: list[Execute] = []
        self._running: dict[str, asyncio.Task[Finished]] = {}
        self._unwinding: set[asyncio.Task[Finished]] = set()

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

    def start_deferred(self) -> None:
        """Starts what was deferred; not before what was cancelled has ended, for that may be what it makes good."""
        if self._unwinding:
            return
        calls, self._deferred = self._deferred, []
        for call in calls:
            task = self._running[call.key] = self._start(call)
            task.add_done_callback(partial(self._ended, call))

    def forget(self, key: str) -> None:
        """Nobody waits for that step any more, if it is one: it is cancelled."""
        self._deferred = [call for call in self._deferred if call.key != key]
        task = self._running.pop(key, None)
        if task is not None:
            task.cancel()
            self._unwinding.add(task)
            asyncio.get_running_loop().call_later(_UNWIND_SECONDS, self._let_go, task)

    def cancel(self) -> None:
        """Ends them all, and waits for none."""
        for task in self._running.values():
            task.cancel()
        self._running.clear()
        self._unwinding.clear()

    def _ended(self, call: Execute, task: asyncio.Task[Finished]) -> None:
        if self._running.get(call.key) is task and not task.cancelled():
            del self._running[call.key]
            self._done(call, task)
            return
        if not task.cancelled():
            task.exception()  # retrieved: nobody waits for it any more
        self._let_go(task)

    def _let_go(self, task: asyncio.Task[Finished]) -> None:
        if task in self._unwinding:
            self._unwinding.discard(task)
            if not task.done():
                _logger.warning("%r was cancelled and goes on; its run does not wait for it any longer", task)
            self._unwound()
