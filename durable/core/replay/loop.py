"""The private event loop of one run: a queue of callbacks, and nothing that touches the outside world.

``gather``, ``TaskGroup``, ``wait``, ``Queue``, ``Lock`` and ``Event`` need only ``call_soon``. Timers are kept here and
made durable by the machine, so ``asyncio.sleep``, ``timeout`` and ``wait_for`` work as well.

Everything that code can observe here is the same on every replay: the order in which callbacks are called and sets of
tasks are iterated, the names of tasks, the time, and the point at which code that only turns in circles is left.
"""

from __future__ import annotations

import asyncio
import logging
import math
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextvars import Context, copy_context
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

from durable.core.errors import WorkflowCodeError
from durable.core.replay.collection import is_collecting
from durable.core.replay.generators import forget_generators
from durable.core.replay.handles import Handle, Timer
from durable.core.replay.numbered import MainTask, NumberedFuture, NumberedTask, main_task
from durable.core.replay.refusals import FOREIGN_TASK_FACTORY, HAND_MADE_FUTURE, HAND_MADE_TASK, refusal
from durable.core.replay.unwinding import unwind

_logger = logging.getLogger("durable.workflow")

# The following are counted in workflow code alone, so that a replay stops at the same callback. Changing them changes
# what recorded histories mean.
_SLICE = range(1000)
"""Callbacks that are called without looking whether they lead anywhere, and without a pause."""
_MAX_IDLE_SLICES = 20
"""Slices in a row in which nothing happened except that callbacks asked to be called again."""
_MAX_SLICES = 300
"""Slices between two answers."""
MAX_SLICES_ALONE = 1000
"""Slices if there is no call whose answer could end the circle."""

_FEW_TASKS = 64
THE_PAST = datetime(2000, 1, 1, tzinfo=UTC)


class ReplayLoop(asyncio.AbstractEventLoop):
    """Runs what is ready until nothing is, which is exactly when the run is blocked on its calls.

    ``salt`` is part of the hashes of its tasks and futures. ``clock`` returns the time; it is asked at most once
    between two answers, and what it said is ``moment``.
    """

    # The defaults of what most runs never change: setting all of it for each run would take a tenth of its time.
    tasks_made = 0
    futures_made = 0
    has_moved = False
    """Whether something has happened in this slice; set by the machine too, when a call is made."""
    has_been_asked = True
    """Whether the code has asked for the time since the last answer."""
    is_silent = False
    """Whether errors in callbacks are not logged, because they have been logged before, or are none yet."""
    refusal: WorkflowCodeError | None = None
    """The first thing that was refused. Code may have caught the error."""
    has_generators = False
    """Whether an async generator was iterated in the run."""
    run_context: object = None
    """The Context of the run while its code may be executed."""
    max_tasks = _FEW_TASKS
    _is_discarded = False
    _task_factory: Callable[..., asyncio.Task[Any]] | None = None
    _exception_handler: Callable[[Any, dict[str, Any]], object] | None = None

    def __init__(self, salt: int = 0, clock: Callable[[], datetime] | None = None, began: datetime = THE_PAST) -> None:
        self.salt = salt
        self.clock = clock
        self.changed_timers: list[Timer] = []
        self._moment = self._told = began
        self._ready: deque[Handle] = deque()
        self.tasks: list[MainTask] = []
        """The tasks that have not ended, and some that have."""

    # turns

    @property
    def is_turning(self) -> bool:
        """Whether something is still ready although the code has been left: it turns in circles."""
        return bool(self._ready)

    def run_until_quiet(self) -> None:
        """Runs every ready callback, and every callback that they make ready. Code that turns in circles is left after
        a number of callbacks that is the same on each replay; it continues when this is called again.

        Must be called from a callback of the real loop, not from inside one of its tasks: Python 3.14 does not allow a
        task to step inside another.
        """
        if self.run_slice():
            for _ in self.slices():
                pass

    def run_slice(self, *, is_watched: bool = False) -> bool:
        """Runs the first callbacks. Returns whether more are ready."""
        surrounding = events._get_running_loop()
        events._set_running_loop(self)
        ready = self._ready
        try:
            for _ in _SLICE:
                if not ready:
                    break
                handle = ready.popleft()
                if handle.is_cancelled:
                    continue
                if is_watched and handle.arguments and isinstance(handle.arguments[0], asyncio.Future):
                    self.has_moved = True  # a future was resolved
                try:
                    handle.context.run(handle.callback, *handle.arguments)
                except KeyboardInterrupt:
                    raise
                except SystemExit:
                    pass  # the task that called sys.exit() has stored it as its exception
                except BaseException as error:
                    message = f"Exception in callback {handle.callback!r}"
                    self.call_exception_handler({"message": message, "exception": error, "handle": handle})
        finally:
            events._set_running_loop(surrounding)
        return bool(ready)

    def slices(self, max_idle: int = _MAX_IDLE_SLICES, max_slices: int = _MAX_SLICES) -> Iterator[None]:
        """Runs more callbacks, with a pause after every slice, until nothing is ready or the code turns in circles."""
        slices = idle = 0
        while self._ready and idle < max_idle and slices < max_slices:
            tasks_made, self.has_moved = self.tasks_made, False
            self.run_slice(is_watched=True)
            slices += 1
            idle = 0 if self.has_moved or self.tasks_made > tasks_made else idle + 1
            yield

    def fire(self, timer: Timer) -> None:
        """Has the timer's callback called."""
        timer.fire()
        self._ready.append(timer)

    def discard(self) -> None:
        """Unwinds every unfinished coroutine, so that none is left to the garbage collector."""
        self._is_discarded = True
        if not all(map(_is_done, self.tasks)):
            if any(not isinstance(task, NumberedTask) for task in self.live_tasks()):
                # The workflow itself will go on elsewhere, and retrieve there the exceptions that it has not retrieved.
                self.is_silent, self._exception_handler = True, None
            surrounding = events._get_running_loop()
            events._set_running_loop(self)
            try:
                while self.tasks:  # a `finally` may create more
                    unfinished, self.tasks = self.tasks, []
                    for task in unfinished:
                        if not task.done():
                            unwind(self, task)
            finally:
                events._set_running_loop(surrounding)
        self.tasks.clear()
        self._ready.clear()
        self._exception_handler = self.run_context = None
        if self.has_generators:
            forget_generators(self)

    def close_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Has an async generator that was left half-way closed by a task, as asyncio does, so that its ``finally`` may
        await. Called by the hooks of the thread."""
        if self._is_discarded or events._get_running_loop() is not self:
            return
        if is_collecting(self):
            _logger.warning("%r was left half-way in a reference cycle and is not closed; use aclosing", generator)
        else:
            self.create_task(generator.aclose())

    # time, which passes with the answers

    @property
    def moment(self) -> datetime | None:
        """When the run saw the last answer; ``None`` if the code has not asked since."""
        return self._moment if self.has_been_asked else None

    def answered(self, at: datetime | None) -> None:
        """Called before an answer is given. ``at`` is when the run saw it; if it is ``None``, the clock is asked once
        the code asks for the time."""
        self.has_been_asked = at is not None
        if at is not None:
            self._moment = at

    def time(self) -> float:
        return self.now().timestamp()

    def now(self) -> datetime:
        """Returns the moment of the last answer, which never lies before what was returned for an earlier one."""
        if not self.has_been_asked:
            self.has_been_asked = True
            if self.clock is not None:
                # Not the moment of the last answer: if it was recorded for an answer after which the code did not ask,
                # it is the time of the flush, which may lie before what the code was told earlier.
                self._moment = max(self._told, self.clock())
        self._told = self._moment
        return self._moment

    # what asyncio's futures, tasks and synchronization primitives need

    def call_soon(  # type: ignore[override]  # a lighter handle
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        if not args and not isinstance(owner := getattr(callback, "__self__", None), MainTask):
            self.check_task(owner)
        handle = Handle(callback, args, context if context is not None else copy_context())
        if not self._is_discarded:
            self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]  # a lighter handle
        self, delay: float | None, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        if delay is None:
            raise TypeError("delay must not be None")
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # a lighter handle
        self, when: float | None, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        if when is None:
            raise TypeError("when cannot be None")
        delay = when - self.time()
        if math.isnan(delay):
            raise ValueError("the time of a timer must be a number, got nan")
        if delay <= 0:
            return self.call_soon(callback, *args, context=context)
        self.check_task(asyncio.current_task(self))
        self.has_moved = True
        context = context if context is not None else copy_context()
        return Timer(when, delay, self.changed_timers, callback, args, context)

    def create_future(self) -> asyncio.Future[Any]:
        return NumberedFuture(loop=self)

    def create_task(  # type: ignore[override]  # newer Pythons add keywords
        self, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        if self._task_factory is not None and not self._is_discarded:
            return self._task_factory(self, coro, **options)
        return NumberedTask(coro, loop=self, **options)

    def start_main(self, coro: Coroutine[Any, Any, Any]) -> MainTask:
        """Creates the task of the workflow itself."""
        task = main_task(coro, self)
        self.tasks.append(task)
        return task

    def prune_tasks(self) -> None:
        """Drops the tasks that have ended, with their results, and waits until there are twice as many again."""
        self.tasks = self.live_tasks()
        self.max_tasks = max(_FEW_TASKS, 2 * len(self.tasks))

    def live_tasks(self) -> list[MainTask]:
        """Returns the tasks that have not ended, in the order of their creation."""
        return [task for task in self.tasks if not task.done()]

    def get_task_factory(self) -> Any:
        return self._task_factory

    def set_task_factory(self, factory: Any) -> None:
        if factory is not None:
            if factory is not getattr(asyncio, "eager_task_factory", None):
                raise self.refused(WorkflowCodeError(FOREIGN_TASK_FACTORY))
            factory = asyncio.create_eager_task_factory(NumberedTask)  # type: ignore[attr-defined]  # Python 3.12
        self._task_factory = factory

    def get_exception_handler(self) -> Any:
        return self._exception_handler

    def set_exception_handler(self, handler: Any) -> None:
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.is_silent:
            _logger.error("error in workflow code: %s", context.get("message"), exc_info=context.get("exception"))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # What the garbage collector finds is reported outside of any turn, where no code of the workflow may run.
        if self._exception_handler is None or events._get_running_loop() is not self or is_collecting(self):
            self.default_exception_handler(context)
            return
        source: Any = context.get("task") or context.get("future") or context.get("handle")
        try:
            if hasattr(source, "get_context"):
                source.get_context().run(self._exception_handler, self, context)
            else:
                self._exception_handler(self, context)
        except Exception:
            _logger.exception("error in the exception handler of a workflow, called for: %s", context.get("message"))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def check_task(self, task: object) -> None:
        """Raises ``WorkflowCodeError`` for a task that was made by hand."""
        if isinstance(task, asyncio.Task) and not isinstance(task, MainTask):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # it has been refused, which says enough
            raise self.refused(WorkflowCodeError(HAND_MADE_TASK))

    def check_future(self, awaitable: object) -> None:
        """Raises ``WorkflowCodeError`` for a future that was made by hand: its place in sets is that of its address."""
        if type(awaitable).__hash__ is object.__hash__ and isinstance(awaitable, asyncio.Future):
            raise self.refused(WorkflowCodeError(HAND_MADE_FUTURE))

    def refused(self, error: WorkflowCodeError) -> WorkflowCodeError:
        self.refusal = self.refusal or error
        return error


_is_done: Callable[[Any], bool] = cast(Any, asyncio.Task).done


def _refused_method(name: str) -> Callable[..., NoReturn]:
    def refuse(loop: ReplayLoop, *_: object, **__: object) -> NoReturn:
        raise loop.refused(refusal(name))

    return refuse


for _name, _member in vars(asyncio.AbstractEventLoop).items():
    if not _name.startswith("_") and callable(_member) and _name not in vars(ReplayLoop):
        setattr(ReplayLoop, _name, _refused_method(_name))
