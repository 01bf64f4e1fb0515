"""Ends the coroutines of a run that leaves its worker unfinished."""

from __future__ import annotations

import logging
from asyncio import tasks
from typing import Any

from durable.core.replay.numbered import MainTask

_logger = logging.getLogger("durable.workflow")

_MAX_AWAITS = 100
"""How many more times code may await in a ``finally`` while it is being unwound."""


class Unwound(BaseException):
    """Ends the coroutines that a closed machine leaves unfinished; so does any call on a closed machine. It is no
    ``Exception``, so that no ``except Exception`` of the workflow believes that the run has failed.

    ``close`` is not used: it lets go of an inner coroutine that awaits once more in a ``finally``, and the garbage
    collector then complains about it.
    """


def unwind(loop: Any, task: MainTask) -> None:
    """Throws ``Unwound`` into the task's coroutine, in the task's own context and as its current task, which is what
    context variables and cancel scopes in its ``finally`` expect."""
    task.own_context.run(_unwind_as_current, loop, task)


def _unwind_as_current(loop: Any, task: MainTask) -> None:
    tasks._enter_task(loop, task)
    try:
        _unwind(task.get_coro())
    finally:
        tasks._leave_task(loop, task)


def _unwind(coroutine: Any) -> None:
    for _ in range(_MAX_AWAITS):
        try:
            coroutine.throw(Unwound())
        except Unwound:
            return
        except BaseException as error:  # user code in `finally`; the run continues elsewhere
            _logger.debug("unwinding a parked workflow raised %r", error)
            return
    _logger.warning("workflow code that catches BaseException did not stop when it was unwound: %r", coroutine)
    coroutine.close()
