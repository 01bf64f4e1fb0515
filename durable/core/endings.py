"""How a run leaves the worker that has claimed it: the decision as a value."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from durable.core.commands import Complete, Fail, SetAside
from durable.core.errors import WorkflowCodeError
from durable.core.machine import error_info
from durable.core.retry import RunRetryPolicy, exponential

_SET_ASIDE_BACKOFF = exponential(1, 300)


class Park(msgspec.Struct, frozen=True):
    """Until the first open wait ends."""


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """Into that status. ``wake_in`` is in seconds, for ``sleeping`` only; ``error`` and ``output`` are encoded."""

    status: Literal["queued", "sleeping", "completed", "failed"]
    output: str | None = None
    error: str | None = None
    wake_in: float | None = None
    failed_attempts: int = 0
    set_asides: int = 0
    is_retry: bool = False
    """Whether the next attempt forgets failed memos."""


Ending: TypeAlias = Park | Settle

RELEASE = Settle(status="queued")
"""Handed back by a worker that stops."""


def ending_of(
    decision: Complete | Fail | SetAside, policy: RunRetryPolicy, *, attempts: int, set_asides: int
) -> Settle:
    """What becomes of a run whose machine has decided. ``attempts`` are its failed attempts before this one."""
    match decision:
        case Complete(output):
            return Settle(status="completed", output=output)
        case SetAside():
            return Settle(
                status="sleeping",
                error=encoded(decision.error),
                wake_in=_SET_ASIDE_BACKOFF.delay(set_asides + 1),
                set_asides=set_asides + 1,
            )
        case Fail(_, exception):
            error = msgspec.json.encode(decision.error).decode()
            delay = None
            if not isinstance(exception, WorkflowCodeError):
                delay = policy.next_delay(attempts + 1, exception)
            if delay is None:
                return Settle(status="failed", error=error, failed_attempts=1)
            if delay <= 0:
                return Settle(status="queued", error=error, failed_attempts=1, is_retry=True)
            return Settle(status="sleeping", error=error, wake_in=delay, failed_attempts=1, is_retry=True)


def encoded(exception: BaseException) -> str:
    """The exception as it is stored, as JSON."""
    return msgspec.json.encode(error_info(exception)).decode()
