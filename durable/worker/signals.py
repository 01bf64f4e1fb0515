"""The signals that tell a process to stop.

One handler serves all workers of the process. It also calls the handler that it replaced, because a worker may be a
guest: in a web server, say, that wants to stop as well. The handler is Python's own kind, not the event loop's, so that
it is called even while code blocks the loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

_BY_ITSELF: dict[int, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
"""What Python does with these signals if nothing handles them."""
_SAME_SECONDS = 0.5
"""A signal that arrives again within this time is the same request: Ctrl-C, for example, reaches a whole group of
processes, and some of their parents pass it on."""


class stop_signals:
    """Handles SIGTERM and SIGINT while it is entered, if that is possible, which is only in the main thread. The first
    one calls ``stop``, in the event loop. The same one once more ends the process at once, as if nothing had handled
    it."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._received: tuple[int, float] | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._loop = asyncio.get_running_loop()
            _handlers.add(self)

    def __exit__(self, *_: object) -> None:
        _handlers.remove(self)

    def overdue(self, grace: float) -> int | None:
        """Returns the exit status with which the process should have ended by now: more than ``grace`` seconds have
        passed since the first signal. Otherwise returns ``None``."""
        if self._received is None:
            return None
        number, moment = self._received
        return _exit_status(number) if time.monotonic() - moment > grace else None

    def tell(self, number: int) -> None:
        """Passes a signal on to the worker. Called between any two instructions of the main thread."""
        if self._received is None:
            self._received = number, time.monotonic()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stop)


class _Handlers:
    """The handlers of this process."""

    def __init__(self) -> None:
        self._told: list[stop_signals] = []
        self._former: dict[int, Any] = {}
        self._received: dict[int, float] = {}
        self._is_passing_on = False

    def add(self, told: stop_signals) -> None:
        self._told.append(told)
        for number in _BY_ITSELF:
            if signal.getsignal(number) != self._handle:
                self._former[number] = signal.signal(number, self._handle)

    def remove(self, told: stop_signals) -> None:
        if told not in self._told:
            return
        self._told.remove(told)
        if self._told:
            return
        self._received.clear()
        for number in _BY_ITSELF:
            if signal.getsignal(number) == self._handle:  # otherwise, the code that replaced it will restore it
                signal.signal(number, self._take_former(number))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._told:  # it was put back after the last worker had ended
            signal.signal(number, self._take_former(number))
            signal.raise_signal(number)
            return
        if self._is_passing_on:
            return  # each of two handlers has replaced the other
        now = time.monotonic()
        if now - self._received.setdefault(number, now) > _SAME_SECONDS:
            _end_process(number)
        for told in list(self._told):
            told.tell(number)
        former = self._former.get(number)
        if callable(former) and not _is_default(former):
            self._is_passing_on = True
            try:
                former(number, frame)
            finally:
                self._is_passing_on = False

    def _take_former(self, number: int) -> Any:
        return self._former.pop(number, None) or _BY_ITSELF[number]


def _is_default(handler: Callable[..., Any]) -> bool:
    """Returns whether that is what Python does by itself: it would raise ``KeyboardInterrupt``, or cancel the task that
    the worker runs in."""
    if handler is signal.default_int_handler:
        return True
    return isinstance(handler, partial) and isinstance(getattr(handler.func, "__self__", None), asyncio.Runner)


def _end_process(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(_exit_status(number))  # the first process of a container ignores signals that it does not handle


def _exit_status(number: int) -> int:
    """Returns the exit status by which shells tell that a signal has ended a process."""
    return 128 + number


_handlers = _Handlers()
