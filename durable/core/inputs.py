"""The input of a run that is about to be begun, checked and encoded."""

from __future__ import annotations

from typing import Any

from durable.core.arguments import instance
from durable.core.codec import Codec
from durable.core.errors import DeserializationError, InvalidArgument
from durable.core.workflow import Workflow


def check_workflow(wf: object) -> None:
    """Raises ``InvalidArgument`` for what is no workflow."""
    instance("wf", wf, Workflow, "a workflow, that is an `async def` decorated with @workflow")


def encoded_input(wf: Workflow[Any, Any], value: object, codec: Codec, argument: str = "input") -> str:
    """What is stored of the input, by the workflow's codec, else by the given one. Raises ``SerializationError``, and
    ``InvalidArgument`` for what the workflow could not read back."""
    what = f"the input of workflow {wf.name!r}"
    if not wf.takes_input:
        if value is not None:
            raise InvalidArgument(argument, value, f"workflow {wf.name!r} takes no input")
        return "null"
    codec = wf.codec or codec
    text = codec.encode(value, what)
    try:
        codec.decode(text, wf.input_type, what)
    except DeserializationError as error:
        raise InvalidArgument(argument, value, f"{what} is {_type_name(wf.input_type)}: {error.reason}") from None
    return text


def _type_name(type: Any) -> str:
    return getattr(type, "__qualname__", None) or str(type)
