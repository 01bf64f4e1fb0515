"""Callbacks of the event loop that may fail."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from durable.core.runs import RunKey

_logger = logging.getLogger("durable.worker")


class Abandonable(Protocol):
    """An execution of a run that can let the run go."""

    run_key: RunKey

    @property
    def is_gone(self) -> bool:
        """Returns whether nothing more of the run may happen here."""
        ...

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
        if self.is_gone:
            return
        try:
            method(self, *arguments, **options)
        except Exception:
            extra = {"run_key": str(self.run_key)}
            _logger.exception("unexpected error while executing run %s; releasing it", self.run_key, extra=extra)
            self.abandon()

    return enter
