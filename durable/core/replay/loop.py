"""The private event loop of one run: a queue of callbacks, and nothing that touches the outside world.

``gather``, ``TaskGroup``, ``wait``, ``Queue``, ``Lock`` and ``Event`` need only ``call_soon`` and work as they are.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, NoReturn

from durable.core.errors import WorkflowCodeError

_logger = logging.getLogger("durable.workflow")

_MAX_AWAITS = 100
"""How many more times code may await in a ``finally`` while it is being unwound."""


class _Handle:
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


class _Task(asyncio.Task[Any]):
    """A task that its loop numbers. Sets of tasks, such as those that ``asyncio.wait`` returns and ``TaskGroup``
    cancels, are iterated by hash. By the default hash, the address, no replay would see the same order as the run
    before."""

    def __init__(self, coro: Coroutine[Any, Any, Any], number: int, loop: ReplayLoop, **options: Any) -> None:
        self._number = number  # before super().__init__, which puts the task into sets
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class ReplayLoop(asyncio.AbstractEventLoop):
    """Runs what is ready until nothing is, which is exactly when the run is blocked on its calls."""

    def __init__(self) -> None:
        self._ready: deque[_Handle] = deque()
        self._tasks: list[asyncio.Task[Any]] = []

    def run_until_quiet(self) -> None:
        """Runs every ready callback, and every callback that they make ready.

        Must be called from a callback of the real loop, not from inside one of its tasks: Python 3.14 does not allow a
        task to step inside another.
        """
        surrounding = events._get_running_loop()
        events._set_running_loop(self)
        ready = self._ready
        try:
            while ready:
                handle = ready.popleft()
                if not handle.is_cancelled:
                    handle.context.run(handle.callback, *handle.arguments)
        except SystemExit:
            self.run_until_quiet()  # the task that called sys.exit() has stored it as its exception
        finally:
            events._set_running_loop(surrounding)

    def discard(self) -> None:
        """Unwinds every unfinished coroutine, so that none is left to the garbage collector."""
        surrounding = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for task in self._tasks:
                if not task.done():
                    _unwind(task.get_coro())
        finally:
            events._set_running_loop(surrounding)
        self._tasks.clear()
        self._ready.clear()

    # what asyncio's futures, tasks and synchronization primitives need

    def call_soon(  # type: ignore[override]  # a lighter handle
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Handle:
        handle = _Handle(callback, args, context if context is not None else copy_context())
        self._ready.append(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # newer Pythons add keywords
        self, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        # The first task is the workflow itself, which never gets into one of its own sets.
        task = (
            _Task(coro, len(self._tasks), self, **options) if self._tasks else asyncio.Task(coro, loop=self, **options)
        )
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio.gather does: parked runs are dropped
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        _logger.error("error in workflow code: %s", context.get("message"), exc_info=context.get("exception"))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def time(self) -> NoReturn:
        _refuse("time")


class _Unwound(BaseException):
    """Ends the coroutines that a closed machine leaves unfinished. ``close`` is not used: it lets go of an inner
    coroutine that awaits once more in a ``finally``, and the garbage collector then complains about it."""


def _unwind(coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any]) -> None:
    for _ in range(_MAX_AWAITS):
        try:
            coroutine.throw(_Unwound())
        except _Unwound:
            return
        except BaseException as error:  # user code in `finally`; the run continues elsewhere
            _logger.debug("unwinding a parked workflow raised %r", error)
            return
    _logger.warning("workflow code that catches BaseException did not stop when it was unwound: %r", coroutine)
    coroutine.close()


_ADVICE = {
    "call_later": "use ctx.sleep, or the timeout of ctx.execute and ctx.wait_for_event",
    "call_at": "use ctx.sleep, or the timeout of ctx.execute and ctx.wait_for_event",
    "time": "use ctx.now, ctx.sleep, or the timeout of ctx.execute and ctx.wait_for_event",
    "run_in_executor": "pass the function to ctx.execute, which runs sync functions in a thread",
    "call_soon_threadsafe": "threads cannot reach into a workflow; publish an event to it instead",
}


def _refuse(name: str) -> NoReturn:
    raise WorkflowCodeError(
        f"workflow code called the event loop's {name}(): I/O, timers and threads are not replayed; "
        + _ADVICE.get(name, "move this into a step with ctx.execute")
    )


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        _refuse(name)

    return refuse


for _name, _member in vars(asyncio.AbstractEventLoop).items():
    if not _name.startswith("_") and callable(_member) and _name not in vars(ReplayLoop):
        setattr(ReplayLoop, _name, _refusal(_name))
