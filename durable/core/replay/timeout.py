"""A durable limit on the time that a block of workflow code takes.

The bookkeeping of cancellations is that of ``asyncio.timeout`` (CPython's ``asyncio/timeouts.py``): a block that is
canceled from outside at the same time ends with that ``CancelledError``, and blocks may be nested.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self, cast

from durable.core.errors import WorkflowCodeError
from durable.core.replay.calls import Answer, Calls
from durable.core.replay.commands import ArmTimer


class Timeout:
    """What ``ctx.timeout`` returns. It is entered once."""

    __slots__ = ("_answer", "_calls", "_cancelling", "_has_fired", "_key", "_seconds", "_task")

    def __init__(self, calls: Calls, key: str, seconds: float) -> None:
        self._calls = calls
        self._key = key
        self._seconds = seconds
        self._answer: Answer | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._has_fired = False

    def expired(self) -> bool:
        """Returns whether the time was over before the block had ended."""
        return self._has_fired

    async def __aenter__(self) -> Self:
        if self._answer is not None:
            raise WorkflowCodeError(f"the timeout {self._key!r} has been entered before; make another with another key")
        # Written as asyncio's timers are: not at all if the block is left within a second, while steps run.
        self._answer = self._calls.call(ArmTimer(self._key, self._seconds, is_sleep=False))
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())  # nothing else awaits
        self._cancelling = self._task.cancelling()
        self._answer.add_done_callback(self._fired)
        return self

    def _fired(self, answer: asyncio.Future[None]) -> None:
        if not answer.cancelled() and self._task is not None:
            self._has_fired = True
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is None or self._answer is None:
            raise WorkflowCodeError(f"the timeout {self._key!r} is left but was not entered; use it with async with")
        if not self._has_fired:
            self._answer.cancel()
        elif task.uncancel() <= self._cancelling and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError(f"timeout {self._key!r} of {self._seconds:g} s is over") from error
