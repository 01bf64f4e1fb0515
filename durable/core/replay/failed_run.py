"""What the workflow is given that begins when a run has failed."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar, get_origin

import msgspec

from durable.core.failures import ErrorInfo
from durable.core.runs import RunKey

T = TypeVar("T")


class FailedRun(msgspec.Struct, Generic[T], frozen=True):
    """A run that has failed or, if that was asked for, has been cancelled: the input of a workflow that is named by
    ``on_failure``. ``input`` is the input of that run, as the annotation ``FailedRun[Order]`` declares it; ``None`` if
    it had none, if it cannot be read as that, or if it is too large to be passed on."""

    run_key: RunKey
    workflow_name: str
    status: Literal["failed", "cancelled"]
    error: ErrorInfo
    input: T | None = None


def takes_failed_run(input_type: Any) -> bool:
    """Returns whether that is the declared input of a workflow that ``on_failure`` can name."""
    return input_type is FailedRun or get_origin(input_type) is FailedRun
