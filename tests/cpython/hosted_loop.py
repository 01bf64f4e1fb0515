"""The loop of a run, with what only a runner of asyncio's own tests needs from outside: it can be run, stopped and
closed, and its time jumps to the next timer when nothing else is ready.

What the loop does in a turn is the product's own code. It is overridden where it refuses what tests of asyncio cannot
do without: tasks and futures made by hand, and task factories.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events, events
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from durable.core.replay.generators import watch_generators
from durable.core.replay.handles import Handle, Timer, moment_of
from durable.core.replay.loop import ReplayLoop
from durable.core.replay.numbered import MainTask

_THE_BEGINNING = datetime.fromtimestamp(0, UTC)
_BASE: Any = base_events.BaseEventLoop


class _Turns(deque[Handle]):
    """What is ready. Once the loop is to stop, nothing seems ready after the turn, which is where asyncio's own loops
    stop."""

    is_stopping = False
    _left_of_turn = 0

    def begin(self) -> None:
        self._left_of_turn = len(self)

    def popleft(self) -> Handle:
        self._left_of_turn -= 1
        return super().popleft()

    def __bool__(self) -> bool:
        if self._left_of_turn == 0 and not self.is_stopping:
            self.begin()
        return self._left_of_turn > 0


@contextmanager
def _running(loop: asyncio.AbstractEventLoop | None) -> Iterator[None]:
    surrounding = events._get_running_loop()
    events._set_running_loop(loop)
    try:
        yield
    finally:
        events._set_running_loop(surrounding)


class HostedLoop(ReplayLoop):
    """Turns in callbacks of ``host``, a real loop, as the loops of runs do."""

    host: ClassVar[asyncio.AbstractEventLoop]

    # read by asyncio's own loops and their tests
    _current_handle = None
    _default_executor = None

    def __init__(self) -> None:
        super().__init__(began=_THE_BEGINNING)
        self._ready: _Turns = _Turns()
        self._armed: list[Timer] = []
        self._closed = False

    @property
    def _is_inside(self) -> bool:
        return events._get_running_loop() is self

    # run from outside

    run_until_complete = _BASE.run_until_complete
    _check_running = _BASE._check_running
    _check_closed = _BASE._check_closed

    def run_forever(self) -> None:
        self._check_closed()
        self._check_running()
        self.host.call_soon(self._turn_in_host)
        try:
            self.host.run_forever()
        finally:
            self._ready.is_stopping = False

    def _turn_in_host(self) -> None:
        watch_generators()
        self._ready.begin()
        try:
            self.run_until_quiet()
            while not self._ready.is_stopping and (timer := self._next_timer()) is not None:
                self.answered(max(self.now(), moment_of(timer.when())))
                self.fire(timer)
                self.run_until_quiet()
        finally:
            self.host.stop()

    def _next_timer(self) -> Timer | None:
        self._armed = [timer for timer in [*self._armed, *self.changed_timers] if timer.is_armed]
        self.changed_timers.clear()
        return min(self._armed, key=Timer.when, default=None)

    def advance_time(self, advance: float) -> None:
        self.answered(self.now() + timedelta(seconds=advance))

    def stop(self) -> None:
        self._ready.is_stopping = True

    def close(self) -> None:
        self._closed = True
        self._ready.clear()

    def is_closed(self) -> bool:
        return self._closed

    def is_running(self) -> bool:
        return self._is_inside

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001  # as asyncio calls it
        if self._is_inside:
            super().set_debug(enabled)

    async def shutdown_asyncgens(self) -> None:
        """A run closes its generators when they are let go, and none when it ends."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is none."""

    # errors, which tests look for between turns as well, and where asyncio logs them

    default_exception_handler = _BASE.default_exception_handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        with _running(self):
            super().call_exception_handler(context)

    # what is refused in a run, and what the tests are about

    def check_task(self, task: object) -> None:
        """Lets tests make tasks by hand."""

    def check_future(self, awaitable: object) -> None:
        """Lets tests make futures by hand."""

    def set_task_factory(self, factory: Any) -> None:
        if factory is getattr(asyncio, "eager_task_factory", None):
            super().set_task_factory(factory)
        else:
            self._task_factory = factory

    def live_tasks(self) -> list[Any]:
        with _running(None):
            tasks = asyncio.all_tasks(self)
        return [*super().live_tasks(), *(task for task in tasks if not isinstance(task, MainTask))]
