"""How the code of a run has ended."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from durable.core.errors import NondeterminismError
from durable.core.failures import ErrorInfo, error_info
from durable.core.replay.history import Cancel


class Complete(msgspec.Struct, frozen=True):
    """The workflow returned; ``output`` is encoded. ``unfinished`` names the calls for which nothing of it waited any
    longer, and which are dropped."""

    output: str
    unfinished: tuple[str, ...] = ()


class ContinueAsNew(msgspec.Struct, frozen=True):
    """The workflow goes on in its next chapter, with this input, which is encoded. ``timeout`` is in seconds;
    ``unfinished`` is as in ``Complete``."""

    input: str
    version: int
    timeout: float | None
    unfinished: tuple[str, ...] = ()


class Fail(msgspec.Struct, frozen=True):
    """The workflow raised."""

    error: ErrorInfo
    exception: BaseException


def failure_of(exception: BaseException) -> Fail:
    """Returns the decision to fail with that exception."""
    return Fail(error_info(exception), exception)


class EndCancelled(msgspec.Struct, frozen=True):
    """The workflow has ended, in whatever way, after it was cancelled. ``error`` is what it raised instead of
    ``CancelledError``, or ``None`` if all went well."""

    cancel: Cancel
    error: ErrorInfo | None


class SetAside(msgspec.Struct, frozen=True):
    """The code does not match what was recorded; nothing may be executed."""

    error: NondeterminismError


Decision: TypeAlias = Complete | ContinueAsNew | Fail | EndCancelled | SetAside
