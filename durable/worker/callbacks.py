"""Calls that step machines: made from the event loop, never inside a task, a few in each turn of the loop.

Otherwise, with hundreds of runs in progress, the database's answers would wait until all of them had had their turn,
and the database would wait for its next statements.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeAlias, TypeVarTuple

Ts = TypeVarTuple("Ts")

_logger = logging.getLogger("durable.worker")

_Call: TypeAlias = tuple[Callable[..., None], tuple[object, ...]]

_A_TURN = 32
"""Calls in one turn of the event loop; they take about a millisecond."""


def guarded(call: Callable[[*Ts], None], *arguments: *Ts) -> None:
    """Makes the call and logs what it raises, so that the calls after it are made all the same."""
    try:
        call(*arguments)
    except Exception:
        _logger.exception("unexpected error in %r", call)


class Callbacks:
    """Makes calls in the order in which they were requested. Each finds the context variables of the code that started
    the worker, whatever requested it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: deque[_Call] = deque()
        self._is_on = False
        self._context = copy_context()

    def soon(self, call: Callable[[*Ts], None], *arguments: *Ts) -> None:
        """Makes the call in one of the next turns of the event loop."""
        self._calls.append((call, arguments))
        self._go_on()

    def _go_on(self) -> None:
        if not self._is_on:
            self._is_on = True
            self._loop.call_soon(self._turn, context=self._context)

    def _turn(self) -> None:
        try:
            for _ in range(min(_A_TURN, len(self._calls))):
                call, arguments = self._calls.popleft()
                guarded(call, *arguments)
        finally:
            self._is_on = False
            if self._calls:
                self._go_on()
