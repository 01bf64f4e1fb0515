"""Each try of a step finds the context variables as they were when the workflow made the call."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from functools import partial
from typing import Any

from durable.core.replay.commands import Execute
from durable.core.replay.current import current_step, enter_step


def body_of_try(call: Execute, number: int, body: Awaitable[Any]) -> Awaitable[Any]:
    """Returns what is to be awaited in the place of ``body``, in which the function of a step does its work. The first
    try has the context of the step's task. A later one must not see what the first has set there."""
    if number == 1:
        return body
    context = call.context.copy()
    context.run(enter_step, current_step())
    return _within(context, body)


@types.coroutine
def _within(context: Context, body: Awaitable[Any]) -> Generator[Any, Any, Any]:
    # Not a task of its own: when a worker that stops closes the coroutine of a step, the step must end with it.
    steps = body.__await__()
    step: Callable[[], Any] = partial(_next, steps)
    while True:
        try:
            awaited = context.run(step)
        except StopIteration as end:
            return end.value
        try:
            yield awaited
        except BaseException as error:
            step = partial(_throw, steps, error)
        else:
            step = partial(_next, steps)


def _next(steps: Generator[Any, Any, Any]) -> Any:
    return next(steps)


def _throw(steps: Generator[Any, Any, Any], error: BaseException) -> Any:
    throw = getattr(steps, "throw", None)  # a plain iterator has none
    if throw is None:
        raise error
    return throw(error)
