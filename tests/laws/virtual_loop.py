"""A worker's event loop whose time passes when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from durable.core.replay.loop import ReplayLoop


class VirtualLoop(ReplayLoop):
    """What is ready runs at once, a timer when the clock has been moved there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.timers: list[tuple[float, int, asyncio.TimerHandle]] = []

    def time(self) -> float:  # type: ignore[override]
        return self.now

    def call_later(  # type: ignore[override]  # no contexts
        self, delay: float, callback: Callable[..., object], *args: Any
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(self.now + delay, callback, args, self)
        self.timers.append((self.now + delay, len(self.timers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """What a cancelled ``TimerHandle`` calls."""

    def next_timer(self) -> float | None:
        self.timers = [timer for timer in self.timers if not timer[2].cancelled()]
        return min((timer[0] for timer in self.timers), default=None)

    def fire_due(self) -> None:
        due = sorted(timer[:2] for timer in self.timers if timer[0] <= self.now)
        handles = {timer[:2]: timer[2] for timer in self.timers}
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for timer in due:
            if not handles[timer].cancelled():
                self.call_soon(handles[timer]._run)
                self.run_until_quiet()
