"""Calls that step machines: made from the event loop and never inside a task, a few in each of its turns.

Where hundreds of runs go on at once, the answers of the database would else wait until all had had their turn, and the
database for its next statements.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias, TypeVarTuple

Ts = TypeVarTuple("Ts")

_Call: TypeAlias = tuple[Callable[..., None], tuple[object, ...]]

_A_TURN = 32
"""About a millisecond."""


class Callbacks:
    """In the order in which they were asked for."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: deque[_Call] = deque()
        self._is_on = False

    def soon(self, call: Callable[[*Ts], None], *arguments: *Ts) -> None:
        """Calls it in one of the next turns."""
        self._calls.append((call, arguments))
        self._go_on()

    def _go_on(self) -> None:
        if not self._is_on:
            self._is_on = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        try:
            for _ in range(min(_A_TURN, len(self._calls))):
                call, arguments = self._calls.popleft()
                call(*arguments)
        finally:
            self._is_on = False
            if self._calls:
                self._go_on()
