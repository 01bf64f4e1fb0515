"""Watches the event loop from the thread of the lease: code that does not let go of it stops every run of the worker,
the worker's answers to signals included."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

from durable.worker.run.entry import ENTRY_CODE
from durable.worker.run.step_calls import STEP_CODE

_logger = logging.getLogger("durable.worker")

_BLOCKED_SECONDS = 5.0
_STUCK_SECONDS = 2.0
"""A loop that has been blocked for this long when its worker should have stopped is not waited for."""
_LAST_WORD_SECONDS = 1.0
_BLOCKED = """\
the event loop has been blocked for %.1f s%s; move blocking calls into steps that are plain functions, which run in \
threads:
%s"""
_ENDED = """\
the process ends with status %d: it was told to stop, but its event loop has been blocked for %.1f s%s:
%s"""


class LoopWatch:
    """Made in the event loop that it watches; ``look`` is called in another thread, every second or so. ``overdue``
    returns the exit status with which the process should have ended by now, ``None`` if it may go on."""

    def __init__(self, lease: float, overdue: Callable[[], int | None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._overdue = overdue
        self._asked: float | None = None
        self._limit = self._least = min(_BLOCKED_SECONDS, lease)

    def look(self) -> None:
        """Reports a loop that is blocked, and ends the process if that keeps it from stopping."""
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
            self._loop.call_soon_threadsafe(self._answer)
            return
        blocked = now - self._asked
        if blocked > self._limit:
            self._limit = 2 * blocked
            self._report(_BLOCKED, blocked)
        status = self._overdue() if blocked > _STUCK_SECONDS else None
        if status is not None:
            self._end_process(status, blocked)

    def _answer(self) -> None:
        self._asked = None
        self._limit = self._least

    def _report(self, message: str, *arguments: object) -> None:
        frame = sys._current_frames().get(self._thread)
        stack = "".join(traceback.format_stack(frame)) if frame else "(no stack)"
        _logger.error(message, *arguments, executing(frame), stack)

    def _end_process(self, status: int, blocked: float) -> None:
        # In a thread, because the code that blocks the loop may hold a lock of the logging.
        report = threading.Thread(target=self._report, args=(_ENDED, status, blocked), daemon=True)
        report.start()
        report.join(_LAST_WORD_SECONDS)
        os._exit(status)


def executing(frame: FrameType | None) -> str:
    """Returns whose code is being executed there, to be put after what it does; nothing if it is nobody's."""
    while frame is not None:
        if frame.f_code is STEP_CODE:
            return f" by step {frame.f_locals['call'].key!r} of run {frame.f_locals['run_key']}"
        if frame.f_code is ENTRY_CODE:
            return f" by run {frame.f_locals['self'].run_key}"
        frame = frame.f_back
    return ""
