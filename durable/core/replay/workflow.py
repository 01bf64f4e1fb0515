"""The definition of a workflow, from which runs are begun and executed."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Generic, TypeVar

from durable.core.arguments import check_codec, instance, whole_number
from durable.core.codec.json_codec import Codec
from durable.core.durations import positive
from durable.core.errors import DeserializationError, InvalidArgument, WorkflowCodeWarning
from durable.core.keys import check_key
from durable.core.replay.determinism import undetermined_calls
from durable.core.replay.signatures import signature_of
from durable.core.retry import RunRetryPolicy

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


class Workflow(Generic[InputT, OutputT]):
    """A registered ``async def``, still callable as the function that it wraps.

    Runs find the workflow by its ``name`` forever, so keep it when the function is renamed. ``concurrency`` bounds how
    many runs one worker executes at once; parked runs do not count. ``timeout`` is in seconds; ``None`` means that a
    run may take forever. ``codec`` is used in place of the client's and the worker's.
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
            raise InvalidArgument("function", function, "an `async def` whose first parameter is a Context")
        signature = signature_of(function)
        if not signature.is_async:
            raise InvalidArgument("function", signature.name, "an `async def` whose first parameter is a Context")
        if len(signature.parameters) not in (1, 2):
            raise InvalidArgument(
                "function", signature.name, "an `async def` that takes (ctx) or (ctx, input) and nothing else"
            )
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
            message = f"workflow {self.name!r} calls {call}(), which is not safe to replay: {advice}"
            code = function.__code__
            where = code.co_filename, code.co_firstlineno, function.__module__
            warnings.warn_explicit(f"{message}, or call it in a step", WorkflowCodeWarning, *where)

    # ``ctx`` is a Context. This module cannot import it: a Context begins children, so its module imports this one.
    def __call__(self, ctx: Any, *arguments: InputT) -> Coroutine[Any, Any, OutputT]:
        return self.function(ctx, *arguments)

    def encoded_input(self, value: object, codec: Codec, argument: str = "input") -> str:
        """Returns what is stored of an input: encoded by the workflow's codec, or by ``codec`` if the workflow has
        none.

        Raises ``SerializationError``, or ``InvalidArgument``, naming ``argument``, for an input that the workflow could
        not read back.
        """
        what = f"the input of workflow {self.name!r}"
        if not self.takes_input:
            if value is not None:
                raise InvalidArgument(argument, value, f"None, because workflow {self.name!r} takes no input")
            return "null"
        codec = self.codec or codec
        text = codec.encode(value, what)
        try:
            codec.decode(text, self.input_type, what)
        except DeserializationError as error:
            rule = f"{_type_name(self.input_type)}, as workflow {self.name!r} declares ({error.reason})"
            raise InvalidArgument(argument, value, rule) from None
        return text

    def __repr__(self) -> str:
        return f"<workflow {self.name!r} version {self.version}>"


def check_workflow(wf: object) -> None:
    """Raises ``InvalidArgument`` unless ``wf`` is a workflow."""
    instance("wf", wf, Workflow, "a workflow, that is, an `async def` decorated with @workflow")


def _type_name(type: Any) -> str:
    return getattr(type, "__qualname__", None) or str(type)
