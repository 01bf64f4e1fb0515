"""What the code of a run has returned or raised, in the words of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from durable.core.errors import DurableError, WorkflowCodeError
from durable.core.failures import error_info
from durable.core.replay.commands import Complete, EndCancelled, Fail, failure_of
from durable.core.replay.history import Cancel

_CIRCLES = (
    "the workflow went in circles (asyncio.sleep(0) in a loop?) while there was no call whose answer could end it; "
    "wait for what it needs with asyncio.Event, a task or a durable call"
)
_BLOCKED = (
    "the workflow is blocked on something other than a durable call and can never resume; what only a thread or "
    "another event loop can bring about belongs in a step, with ctx.execute"
)


def outcome_of(
    main: asyncio.Task[Any], cancel: Cancel | None, encode: Callable[[Any], str], unfinished: tuple[str, ...]
) -> Complete | Fail | EndCancelled:
    """Returns how the workflow, whose task has ended, has ended. ``cancel`` is how the run was cancelled."""
    exception = None if main.cancelled() else main.exception()
    if cancel is not None:
        return EndCancelled(cancel, None if exception is None else error_info(exception))
    if main.cancelled():
        return failure_of(asyncio.CancelledError("the workflow cancelled itself"))
    if exception is not None:
        return failure_of(exception)
    try:
        return Complete(encode(main.result()), unfinished)
    except DurableError as error:
        return failure_of(error)


def how_it_stands(main: asyncio.Task[Any]) -> str:
    """Returns what code that calls nothing more is doing instead, for a message."""
    if not main.done():
        return "nothing more"
    if main.cancelled():
        return "nothing more: the workflow ended with CancelledError"
    exception = main.exception()
    if exception is None:
        return "nothing more: the workflow returned"
    info = error_info(exception)
    return f"nothing more: the workflow raised {info.type}: {info.message}"


def stuck(*, is_turning: bool) -> Fail:
    """Returns how a run ends that no answer can continue; ``is_turning``: its code turns in circles."""
    return failure_of(WorkflowCodeError(_CIRCLES if is_turning else _BLOCKED))
