"""Callbacks of the event loop that may break."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from durable.core.runs import RunKey

_logger = logging.getLogger("durable.worker")


class Abandonable(Protocol):
    """What executes a run and can let it go."""

    run_key: RunKey

    def abandon(self) -> None:
        """Nothing more of the run happens here."""
        ...


ExecutionT = TypeVar("ExecutionT", bound=Abandonable)
P = ParamSpec("P")


def entry(method: Callable[Concatenate[ExecutionT, P], None]) -> Callable[Concatenate[ExecutionT, P], None]:
    """A callback of the event loop. What breaks in it costs this run its place, and neither the worker its life nor the
    run its end: it is claimed anew, and fails when that goes on."""

    @functools.wraps(method)
    def enter(self: ExecutionT, /, *arguments: P.args, **options: P.kwargs) -> None:
        try:
            method(self, *arguments, **options)
        except Exception:
            extra = {"run_key": str(self.run_key)}
            _logger.exception("run %s broke the engine; it is given up here", self.run_key, extra=extra)
            self.abandon()

    return enter
