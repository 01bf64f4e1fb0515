"""Callbacks of the event loop that may fail."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from enum import Enum
from types import CodeType
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from durable.core.runs import RunKey

_logger = logging.getLogger("durable.worker")


class Phase(Enum):
    """Where an execution is on its way from the claim. A park leads back to ``RUNNING``."""

    CLAIMED = "the machine has not started"
    RUNNING = "the machine is being fed"
    LEAVING = "the journal is writing how the run leaves"
    GONE = "the run is no longer here"


# Asked for at every entry, and a global is found faster than a member.
GONE, LEAVING = Phase.GONE, Phase.LEAVING


class Abandonable(Protocol):
    """An execution of a run that can let the run go."""

    run_key: RunKey
    phase: Phase
    is_to_blame: bool

    def abandon(self) -> None:
        """Lets the run go: nothing more of it happens here."""
        ...


ExecutionT = TypeVar("ExecutionT", bound=Abandonable)
P = ParamSpec("P")


def entry(method: Callable[Concatenate[ExecutionT, P], None]) -> Callable[Concatenate[ExecutionT, P], None]:
    """Marks a callback of the event loop. It does nothing once the execution is gone.

    An exception makes this worker release the run, but it neither stops the worker nor fails the run: the run is
    claimed again, and it fails only if that keeps happening.
    """

    @functools.wraps(method)
    def enter(self: ExecutionT, /, *arguments: P.args, **options: P.kwargs) -> None:
        if self.phase is GONE:
            return
        try:
            method(self, *arguments, **options)
        except Exception:
            extra = {"run_key": str(self.run_key)}
            _logger.exception("unexpected error while executing run %s; releasing it", self.run_key, extra=extra)
            self.is_to_blame = True
            self.abandon()

    return enter


def _entry_code() -> CodeType:
    @entry
    def nothing(_: Abandonable) -> None: ...

    return nothing.__code__


ENTRY_CODE = _entry_code()
"""The code of every entry. A frame that executes it has the execution as ``self``: code of that run is being executed
above it."""
