"""The time that runs go by: sleeps, deadlines, timeouts, pauses between tries, and the worker's polls.

A test kit replaces this clock in order to skip time. Whatever guards against the real world, namely leases, takeovers,
silent connections and the timeouts of steps, goes by the real clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, TypeVarTuple

Ts = TypeVarTuple("Ts")


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> object:
        """Prevents the call; does nothing if it has already been made."""
        ...


class Clock:
    """The system's clock and the running event loop's timers."""

    def monotonic(self) -> float:
        """Returns the seconds since some fixed moment; never goes backward."""
        return time.monotonic()

    def call_later(self, delay: float, call: Callable[[*Ts], object], *arguments: *Ts) -> Timer:
        """Makes the call in the event loop after that many seconds."""
        return asyncio.get_running_loop().call_later(delay, call, *arguments)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Waits until the event is set, but for at most that many seconds. Returns whether it was set."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                timer = self.call_later(max(seconds, 0.0), lambda: limit.reschedule(loop.time()))
                try:
                    await event.wait()
                finally:
                    timer.cancel()
        except TimeoutError:
            return False
        return True
