"""The decorator that turns a function into a workflow."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypedDict, Unpack, overload

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.replay.context import Context
from durable.core.replay.workflow import InputT, OnFailure, OutputT, Workflow
from durable.core.retry import RunRetryPolicy


class WorkflowOptions(TypedDict, total=False):
    """The keywords of ``@workflow``."""

    name: str
    """The name by which its runs find it; the name of the function by default. Keep it when the function is renamed."""
    version: int
    """Recorded with each run that begins, and read as ``ctx.version``; 1 by default."""
    concurrency: int
    """How many runs one worker executes at once, not counting parked ones; 100 by default."""
    retry: RunRetryPolicy | None
    """When a whole run is tried again after it has failed; never by default."""
    timeout: timedelta | float | None
    """How long a run may take, in seconds or as a ``timedelta``, counted from when it was due to start and including
    retries and sleeps. After that it is cancelled and ends ``failed`` with ``RunTimeout``. Unlimited by default."""
    codec: Codec | None
    """Encodes everything that is stored of its runs, in place of the codec of the client and the worker, and judges its
    declared types in place of ``JsonCodec``."""
    on_failure: Workflow[Any, Any] | OnFailure | None
    """A workflow of which one run begins, in the same transaction, whenever a run of this one ends ``failed``, for
    whatever reason; with ``OnFailure(…, cancelled=True)``, also when it was cancelled. Its input is a ``FailedRun``. It
    has the tags and the headers of the run that failed. Some worker must have it. None by default."""


@overload
def workflow(function: Callable[[Context], Coroutine[Any, Any, OutputT]], /) -> Workflow[None, OutputT]: ...
@overload
def workflow(function: Callable[[Context, InputT], Coroutine[Any, Any, OutputT]], /) -> Workflow[InputT, OutputT]: ...
@overload
def workflow(**options: Unpack[WorkflowOptions]) -> WorkflowDecorator: ...
def workflow(
    function: Callable[..., Coroutine[Any, Any, Any]] | None = None, /, **options: Unpack[WorkflowOptions]
) -> Any:
    """Makes a workflow from an ``async def f(ctx)`` or ``async def f(ctx, input)``, used bare or with
    ``WorkflowOptions``.

    Raises ``InvalidArgument`` for anything that is not such a function, and ``SerializationError`` if its input or
    output is declared as something that can never be stored. Warns of a type whose values will be refused.
    """
    decorator = WorkflowDecorator(options)
    return decorator if function is None else decorator(function)


class WorkflowDecorator(msgspec.Struct, frozen=True):
    """What ``workflow(name=…)`` returns, to be called with the function."""

    options: WorkflowOptions

    @overload
    def __call__(self, function: Callable[[Context], Coroutine[Any, Any, OutputT]], /) -> Workflow[None, OutputT]: ...
    @overload
    def __call__(
        self, function: Callable[[Context, InputT], Coroutine[Any, Any, OutputT]], /
    ) -> Workflow[InputT, OutputT]: ...
    def __call__(self, function: Callable[..., Coroutine[Any, Any, Any]], /) -> Workflow[Any, Any]:
        return Workflow(function, **self.options)
