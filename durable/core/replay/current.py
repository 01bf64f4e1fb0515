"""What code that is being executed can ask for without having been passed it: the step, inside a step; the Context, in
workflow code.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.errors import OutsideOfRun
from durable.core.replay.loop import ReplayLoop
from durable.core.runs import RunKey

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # only for type checkers, which bring it along

    from durable.core.replay.context import Context

T = TypeVar("T")


class Step:
    """The step that is being executed."""

    __slots__ = ("_beat", "_codec", "_detail", "attempt", "key", "run_key")

    def __init__(
        self,
        run_key: RunKey,
        key: str,
        attempt: int,
        detail: str | None = None,
        codec: Codec | None = None,
        beat: Callable[[object], None] | None = None,
    ) -> None:
        self.run_key = run_key
        """The key of the run that the step belongs to."""
        self.key = key
        """The key under which the step was called."""
        self.attempt = attempt
        """The 1-based number of the try; those that the end of a worker has interrupted are counted as well."""
        self._detail = detail
        self._codec = codec or JsonCodec()
        self._beat = beat

    def __repr__(self) -> str:
        return f"<Step {self.key!r} of run {self.run_key}, try {self.attempt}>"

    @property
    def workflow_name(self) -> str:
        """The name of the workflow of which the run is one."""
        return self.run_key.workflow_name

    def heartbeat(self, detail: object = None) -> None:
        """Says that the step is alive, for ``RetryPolicy(heartbeat=…)``, and how far it has come: if this try fails or
        its worker dies, the next one finds the last ``detail`` that is not ``None``. Details are stored about once a
        second, so the very last may be lost with its worker. May be called as often as convenient, and from any thread.
        Raises ``SerializationError`` for a detail that cannot be stored."""
        if self._beat is not None:
            self._beat(detail)

    @overload
    def last_detail(self, type: TypeForm[T]) -> T | None: ...
    @overload
    def last_detail(self, type: Any = Any) -> Any: ...
    def last_detail(self, type: Any = Any) -> Any:
        """Returns the last detail that an earlier try of this step has given with its heartbeat, decoded as ``type``;
        ``None`` if there is none. Raises ``DeserializationError`` if it does not fit."""
        if self._detail is None:
            return None
        return self._codec.decode(self._detail, type, f"the last detail of step {self.key!r}")


_step: ContextVar[Step] = ContextVar("durable_step")


def current_step() -> Step:
    """Returns the step that is being executed, to the step's function and to all that it calls, in its thread too.
    Raises ``OutsideOfRun`` elsewhere, also in workflow code."""
    step = _found_step()
    if step is None:
        raise OutsideOfRun("current_step() must be called inside a step; in workflow code, use the Context")
    return step


def current_context() -> Context:
    """Returns the Context of the run, to the workflow's code and to all that it calls. Raises ``OutsideOfRun``
    elsewhere, also inside steps."""
    context = _found_context()
    if context is None:
        raise OutsideOfRun("current_context() must be called in workflow code; inside a step, use current_step()")
    return context


def enter_step(step: Step) -> None:
    """Makes that step the current one of this context, and of those that are copied from it."""
    _step.set(step)


def _found_context() -> Context | None:
    loop = asyncio._get_running_loop()
    return cast("Context | None", loop.run_context) if isinstance(loop, ReplayLoop) else None


def _found_step() -> Step | None:
    # What a step begins in its own process and thread, such as a worker in a test, has the step's context as well.
    return None if isinstance(asyncio._get_running_loop(), ReplayLoop) else _step.get(None)


class RunLogFilter(logging.Filter):
    """Gives every log record that is made in workflow code or inside a step, by whichever logger, the attributes
    ``run_key``, ``workflow_name``, ``step_key`` and ``attempt``; all others get empty texts. What a record has already
    stays. To be added to a handler, whose formatter can then name them."""

    def filter(self, record: logging.LogRecord) -> bool:
        step, context = _found_step(), _found_context()
        run = step or context
        found = {
            "run_key": str(run.run_key) if run is not None else "",
            "workflow_name": run.workflow_name if run is not None else "",
            "step_key": step.key if step is not None else "",
            "attempt": run.attempt if run is not None else "",
        }
        for name, value in found.items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True
