"""Workflow definitions, and what is read off the signature of a function."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec

from durable.core.arguments import check_codec, instance, whole_number
from durable.core.determinism import undetermined_calls
from durable.core.durations import positive
from durable.core.errors import InvalidArgument, WorkflowCodeWarning
from durable.core.keys import check_key
from durable.core.replay.signatures import signature_of
from durable.core.retry import RunRetryPolicy

if TYPE_CHECKING:
    from durable.core.codec import Codec
    from durable.core.context import Context

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


class Workflow(Generic[InputT, OutputT]):
    """A registered ``async def``. Still callable as the function it wraps.

    ``name`` is how runs find it, for ever: keep it when the function is renamed. ``concurrency`` bounds how many runs
    one worker executes at once; parked runs do not count. ``timeout`` is in seconds, ``None``: a run may take for ever.
    ``codec`` is used in place of the client's and the worker's.
    """

    def __init__(
        self,
        function: Callable[..., Coroutine[Any, Any, OutputT]],
        *,
        name: str | None = None,
        version: int = 1,
        concurrency: int = 100,
        retry: RunRetryPolicy | None = None,
        timeout: timedelta | float | None = None,
        codec: Codec | None = None,
    ) -> None:
        if not callable(function):
            raise InvalidArgument("function", function, "an `async def` that takes a Context first")
        signature = signature_of(function)
        if not signature.is_async:
            raise InvalidArgument("function", signature.name, "an `async def` that takes a Context first")
        if len(signature.parameters) not in (1, 2):
            raise InvalidArgument("function", signature.name, "it takes (ctx) or (ctx, input), nothing else")
        if retry is not None:
            instance("retry", retry, RunRetryPolicy, "a RunRetryPolicy")
        if codec is not None:
            check_codec(codec)
        self.function = function
        self.name = check_key("name", function.__name__ if name is None else name)
        self.version = whole_number("version", version, 1)
        self.concurrency = whole_number("concurrency", concurrency, 1)
        self.retry = RunRetryPolicy() if retry is None else retry
        self.timeout = None if timeout is None else positive("timeout", timeout)
        self.codec = codec
        self.takes_input = len(signature.parameters) == 2
        self.input_type: Any = signature.parameters[1] if self.takes_input else None
        self.output_type: Any = signature.returns
        functools.update_wrapper(self, function)
        for call, advice in undetermined_calls(function):
            message = f"workflow {self.name!r} calls {call}(), which a replay would answer differently: {advice}"
            code = function.__code__
            where = code.co_filename, code.co_firstlineno, function.__module__
            warnings.warn_explicit(f"{message}, or call it in a step", WorkflowCodeWarning, *where)

    def __call__(self, ctx: Context, *arguments: InputT) -> Coroutine[Any, Any, OutputT]:
        return self.function(ctx, *arguments)

    def __repr__(self) -> str:
        return f"<workflow {self.name!r} version {self.version}>"


@overload
def workflow(function: Callable[[Context], Coroutine[Any, Any, OutputT]], /) -> Workflow[None, OutputT]: ...
@overload
def workflow(function: Callable[[Context, InputT], Coroutine[Any, Any, OutputT]], /) -> Workflow[InputT, OutputT]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    version: int = 1,
    concurrency: int = 100,
    retry: RunRetryPolicy | None = None,
    timeout: timedelta | float | None = None,
    codec: Codec | None = None,
) -> WorkflowDecorator: ...
def workflow(
    function: Callable[..., Coroutine[Any, Any, Any]] | None = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    concurrency: int = 100,
    retry: RunRetryPolicy | None = None,
    timeout: timedelta | float | None = None,
    codec: Codec | None = None,
) -> Any:
    """Makes a workflow of an ``async def f(ctx)`` or ``async def f(ctx, input)``; used bare or with options.

    ``retry`` is how often the whole run is tried anew after it failed; by default not at all. A run that has not ended
    ``timeout`` (seconds or ``timedelta``) after it was to start, retries and sleeps included, is cancelled and ends
    ``failed`` with ``RunTimeout``. ``codec`` encodes all that is stored of its runs, in place of the client's and the
    worker's. Raises ``InvalidArgument`` for anything that is not such a function.
    """
    decorator = WorkflowDecorator(
        name=name, version=version, concurrency=concurrency, retry=retry, timeout=timeout, codec=codec
    )
    return decorator if function is None else decorator(function)


class WorkflowDecorator(msgspec.Struct, frozen=True, kw_only=True):
    """What ``workflow(name=…)`` returns: waits for the function."""

    name: str | None
    version: int
    concurrency: int
    retry: RunRetryPolicy | None
    timeout: timedelta | float | None
    codec: Codec | None

    @overload
    def __call__(self, function: Callable[[Context], Coroutine[Any, Any, OutputT]], /) -> Workflow[None, OutputT]: ...
    @overload
    def __call__(
        self, function: Callable[[Context, InputT], Coroutine[Any, Any, OutputT]], /
    ) -> Workflow[InputT, OutputT]: ...
    def __call__(self, function: Callable[..., Coroutine[Any, Any, Any]], /) -> Workflow[Any, Any]:
        return Workflow(
            function,
            name=self.name,
            version=self.version,
            concurrency=self.concurrency,
            retry=self.retry,
            timeout=self.timeout,
            codec=self.codec,
        )
