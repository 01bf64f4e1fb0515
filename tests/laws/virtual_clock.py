"""A worker's clock, whose time passes when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from durable.worker.clock import Clock, Ts


class VirtualTimer:
    def __init__(self, at: float, call: Callable[[], object]) -> None:
        self.at = at
        self.is_cancelled = False
        self._call = call

    def cancel(self) -> None:
        self.is_cancelled = True

    def fire(self) -> None:
        if not self.is_cancelled:
            self._call()


class VirtualClock(Clock):
    """``now`` is in seconds. Who moves it fires what is due."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._timers: list[VirtualTimer] = []

    def monotonic(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[[*Ts], object], *arguments: *Ts) -> VirtualTimer:
        timer = VirtualTimer(self.now + delay, partial(call, *arguments))
        self._timers.append(timer)
        return timer

    def next_timer(self) -> float | None:
        """When the next one is due, ``None`` if none is set."""
        return min((timer.at for timer in self._timers if not timer.is_cancelled), default=None)

    def take_due(self) -> list[VirtualTimer]:
        """Those that are due, the earliest first. One may still cancel another."""
        due = [timer for timer in self._timers if timer.at <= self.now]
        self._timers = [timer for timer in self._timers if timer.at > self.now and not timer.is_cancelled]
        return sorted(due, key=lambda timer: timer.at)
