"""What the loop of a run returns for callbacks: to be called as soon as possible, or after a time."""

from __future__ import annotations

from asyncio import futures
from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any


class Handle:
    """The part of ``asyncio.Handle`` that callers of ``call_soon`` use, at a third of its cost."""

    __slots__ = ("arguments", "callback", "context", "is_cancelled")

    def __init__(self, callback: Callable[..., object], arguments: tuple[Any, ...], context: Context) -> None:
        self.callback = callback
        self.arguments = arguments
        self.context = context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    @property
    def _cancelled(self) -> bool:  # anyio and others read the attribute of asyncio's own handles
        return self.is_cancelled

    def get_context(self) -> Context:
        return self.context


# Looked up when this module is imported: a Python that renames it has all timers recorded as timeouts, which a retry of
# the run starts again.
_END_OF_SLEEP = getattr(futures, "_set_result_unless_cancelled", None)


class Timer(Handle):
    """A callback that is due ``delay`` seconds after it was armed. ``number`` is its 1-based place among all timers of
    the run, ``None`` until the machine has seen it. ``changed`` is where the loop keeps the timers that were armed or
    cancelled since the machine last looked."""

    __slots__ = ("_changed", "_when", "delay", "number")

    def __init__(
        self,
        when: float,
        delay: float,
        changed: list[Timer],
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        context: Context,
    ) -> None:
        super().__init__(callback, arguments, context)
        self.delay = delay
        self.number: int | None = None
        self._when = when
        self._changed: list[Timer] | None = changed
        changed.append(self)

    def when(self) -> float:
        """Returns when the callback is due, by the loop's ``time()``."""
        return self._when

    @property
    def is_sleep(self) -> bool:
        """Whether it only ends an ``asyncio.sleep``. Every other timer ends something that takes too long."""
        return self.callback is _END_OF_SLEEP

    @property
    def is_armed(self) -> bool:
        """Whether it has neither fired nor been cancelled."""
        return self._changed is not None

    def fire(self) -> None:
        """Notes that the callback is now called like any other."""
        self._changed = None

    def cancel(self) -> None:
        self.is_cancelled = True
        if self._changed is not None:
            self._changed.append(self)
            self._changed = None


def moment_of(time: float) -> datetime:
    """Returns the first moment, to the microsecond, that is not earlier than ``time``: code that was woken at the time
    it asked for finds that the time has come."""
    moment = datetime.fromtimestamp(time, UTC)
    while moment.timestamp() < time:
        moment += timedelta(microseconds=1)
    return moment
