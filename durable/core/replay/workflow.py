"""The definition of a workflow, from which runs are begun and executed."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec

from durable.core.arguments import check_codec, instance, truth, whole_number
from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.codec.paths import name_of
from durable.core.codec.places import Place, codec_at
from durable.core.durations import positive
from durable.core.errors import (
    DeserializationError,
    InvalidArgument,
    LossyType,
    SerializationError,
    WorkflowCodeWarning,
)
from durable.core.keys import check_key
from durable.core.replay.determinism import undetermined_calls
from durable.core.replay.failed_run import takes_failed_run
from durable.core.replay.signatures import signature_of
from durable.core.retry import RunRetryPolicy

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


class Workflow(Generic[InputT, OutputT]):
    """A registered ``async def``, still callable as the function that it wraps.

    Runs find the workflow by its ``name`` forever, so keep it when the function is renamed. ``concurrency`` bounds how
    many runs one worker executes at once; parked runs do not count. ``timeout`` is in seconds; ``None`` means that a
    run may take forever. ``codec`` is used in place of the client's and the worker's, and judges the declared types; if
    there is none, ``JsonCodec`` does.
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
        on_failure: Workflow[Any, Any] | OnFailure | None = None,
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
        self.on_failure = None if on_failure is None else OnFailure.of(on_failure)
        if codec is not None and self.on_failure is not None and self.on_failure.workflow.codec is None:
            # What this one keeps secret, the other might store in plain text.
            raise InvalidArgument(
                "on_failure", self.on_failure.workflow, "a workflow with a codec, as this one has one"
            )
        self.takes_input = len(signature.parameters) == 2
        self.input_type: Any = signature.parameters[1] if self.takes_input else None
        self.output_type: Any = signature.returns
        functools.update_wrapper(self, function)
        self._check_types(codec or JsonCodec())
        for call, advice in undetermined_calls(function):
            self._warn(f"calls {call}(), which is not safe to replay: {advice}, or call it in a step")

    # ``ctx`` is a Context. This module cannot import it: a Context begins children, so its module imports this one.
    def __call__(self, ctx: Any, *arguments: InputT) -> Coroutine[Any, Any, OutputT]:
        return self.function(ctx, *arguments)

    def encoded_input(self, value: object, codec: Codec, place: Place, argument: str = "input") -> str:
        """Returns what is stored of an input at that place: encoded by the workflow's codec, or by ``codec`` if the
        workflow has none.

        Raises ``SerializationError``, or ``InvalidArgument``, naming ``argument``, for an input that the workflow could
        not read back.
        """
        what = f"the input of workflow {self.name!r}"
        if not self.takes_input:
            if value is not None:
                rule = f"None, because workflow {self.name!r} takes no input"
                raise InvalidArgument(argument, value, rule, got=f"a {name_of(type(value))}")
            return "null"
        codec = codec_at(self.codec or codec, place.kind, place.owner)
        codec.check_type(self.input_type, what)
        text = codec.encode(value, what)
        try:
            back = codec.decode(text, self.input_type, what)
        except DeserializationError as error:
            rule = f"{_type_name(self.input_type)}, as workflow {self.name!r} declares ({error.reason})"
            # Without the value: the error ends up in logs and, if workflow code begins a child, in the database.
            raise InvalidArgument(argument, value, rule, got=f"a {name_of(type(value))} that is not one") from None
        if isinstance(codec, JsonCodec):
            codec.check_unchanged(value, back, self.input_type, what)
        return text

    def _check_types(self, codec: Codec) -> None:
        for type, what in ((self.input_type, "input"), (self.output_type, "output")):
            try:
                codec.check_type(type, f"the {what} of workflow {self.name!r}")
            except LossyType as error:
                self._warn(f"declares a type whose values will be refused: {what}: {error.path} {error.reason}")
            except SerializationError as error:
                # A class that is defined further down in the module is judged when the first run is begun.
                if not isinstance(error.__cause__, NameError):
                    raise

    def _warn(self, message: str) -> None:
        code = getattr(self.function, "__code__", None)  # a callable object has none
        where = ("", 0, None) if code is None else (code.co_filename, code.co_firstlineno, self.function.__module__)
        warnings.warn_explicit(f"workflow {self.name!r} {message}", WorkflowCodeWarning, *where)

    def __repr__(self) -> str:
        return f"<workflow {self.name!r} version {self.version}>"


class OnFailure(msgspec.Struct, frozen=True):
    """Which workflow begins when a run has failed, with options: ``@workflow(on_failure=OnFailure(apologize,
    cancelled=True))``. With ``cancelled``, it begins as well when a run was cancelled or terminated.

    Raises ``InvalidArgument`` unless the workflow takes a ``FailedRun``.
    """

    workflow: Workflow[Any, Any]
    cancelled: bool = False

    def __post_init__(self) -> None:
        rule = "a workflow whose input is declared as FailedRun or FailedRun[…]"
        if not takes_failed_run(instance("on_failure", self.workflow, Workflow, rule).input_type):
            raise InvalidArgument("on_failure", self.workflow, rule)
        truth("cancelled", self.cancelled)

    @classmethod
    def of(cls, given: Workflow[Any, Any] | OnFailure) -> OnFailure:
        """Returns what a workflow, or one with options, stands for."""
        return given if isinstance(given, OnFailure) else cls(given)


def check_workflow(wf: object) -> None:
    """Raises ``InvalidArgument`` unless ``wf`` is a workflow."""
    instance("wf", wf, Workflow, "a workflow, that is, an `async def` decorated with @workflow")


def _type_name(type: Any) -> str:
    return getattr(type, "__qualname__", None) or str(type)
