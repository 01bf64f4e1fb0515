"""The decorator that turns a function into a workflow."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypedDict, Unpack, overload

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.replay.context import Context
from durable.core.replay.workflow import InputT, OutputT, Workflow
from durable.core.retry import RunRetryPolicy


class WorkflowOptions(TypedDict, total=False):
    """The keywords of ``@workflow``."""

    name: str
    """How its runs find it; the name of the function if not given. Keep it when the function is renamed."""
    version: int
    """Recorded with each run that begins, and read as ``ctx.version``; 1 if not given."""
    concurrency: int
    """How many runs one worker executes at once, not counting parked ones; 100 if not given."""
    retry: RunRetryPolicy | None
    """When a whole run is tried again after it failed; never if not given."""
    timeout: timedelta | float | None
    """How long a run may take, in seconds or as ``timedelta``, counted from when it was to start and with retries and
    sleeps included. It is then cancelled and ends ``failed`` with ``RunTimeout``. Unlimited if not given."""
    codec: Codec | None
    """Encodes everything that is stored of its runs, instead of the codec of the client and the worker."""


@overload
def workflow(function: Callable[[Context], Coroutine[Any, Any, OutputT]], /) -> Workflow[None, OutputT]: ...
@overload
def workflow(function: Callable[[Context, InputT], Coroutine[Any, Any, OutputT]], /) -> Workflow[InputT, OutputT]: ...
@overload
def workflow(**options: Unpack[WorkflowOptions]) -> WorkflowDecorator: ...
def workflow(
    function: Callable[..., Coroutine[Any, Any, Any]] | None = None, /, **options: Unpack[WorkflowOptions]
) -> Any:
    """Makes a workflow of an ``async def f(ctx)`` or ``async def f(ctx, input)``, bare or with ``WorkflowOptions``.

    Raises ``InvalidArgument`` for anything that is not such a function.
    """
    decorator = WorkflowDecorator(options)
    return decorator if function is None else decorator(function)


class WorkflowDecorator(msgspec.Struct, frozen=True):
    """What ``workflow(name=…)`` returns; it waits for the function."""

    options: WorkflowOptions

    @overload
    def __call__(self, function: Callable[[Context], Coroutine[Any, Any, OutputT]], /) -> Workflow[None, OutputT]: ...
    @overload
    def __call__(
        self, function: Callable[[Context, InputT], Coroutine[Any, Any, OutputT]], /
    ) -> Workflow[InputT, OutputT]: ...
    def __call__(self, function: Callable[..., Coroutine[Any, Any, Any]], /) -> Workflow[Any, Any]:
        return Workflow(function, **self.options)
