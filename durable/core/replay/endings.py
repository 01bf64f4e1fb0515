"""How a run leaves the worker that has claimed it; the decision is a value."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from durable.core.errors import EventTimeout, WorkflowCodeError
from durable.core.failures import ErrorInfo, error_info
from durable.core.replay.commands import Complete, ContinueAsNew, EndCancelled, Fail, SetAside
from durable.core.replay.history import Cancel
from durable.core.retry import RunRetryPolicy, exponential, raised_members
from durable.core.runs import TERMINAL

_SET_ASIDE_BACKOFF = exponential(1, 300)


class Park(msgspec.Struct, frozen=True):
    """The run parks until its first open wait ends; or, if a cancel of it is held, until one of the children that it is
    ``held`` for has ended, which are given by their ids. The events that are ``gathered``, given by their ids too, do
    not wake it: a wait for several events has seen them and waits for more."""

    held: tuple[str, ...] = ()
    gathered: tuple[str, ...] = ()


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """The run takes on that status. ``wake_in`` is in seconds and for ``sleeping`` only; ``error`` and ``output`` are
    encoded."""

    status: Literal["queued", "sleeping", "paused", "completed", "failed", "cancelled"]
    output: str | None = None
    error: str | None = None
    wake_in: float | None = None
    failed_attempts: int = 0
    set_asides: int = 0
    is_retry: bool = False
    """Whether the next attempt forgets failed memos."""

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_set_aside(self) -> bool:
        return self.set_asides > 0


class NextChapter(Settle, frozen=True, kw_only=True):
    """The run continues as new: it goes back into the queue with this input, encoded, and without its memos.
    ``timeout`` is in seconds, from now."""

    input: str
    version: int
    timeout: float | None


Ending: TypeAlias = Park | Settle

RELEASE = Settle(status="queued")
"""The ending of a run that is handed back by a stopping worker."""
PAUSED = Settle(status="paused")
"""The ending of a run that is not to go on until it is resumed."""


def ending_when_quiet(
    *,
    are_steps_waiting: bool,
    are_waits_open: bool,
    is_draining: bool,
    is_paused: bool = False,
    held: tuple[str, ...] = (),
    gathered: tuple[str, ...] = (),
) -> Ending | None:
    """Returns how a run leaves the worker whose machine has not ended it and of whose steps no code is executing, or
    ``None`` if it stays.

    If it has steps that have yet to start, or nothing to wait for, it continues here unless the worker is draining. If
    it has only waits, it parks.
    """
    if is_paused:
        return PAUSED
    if held:  # a cancel waits for children, whatever else the run would do
        return Park(held)
    if are_steps_waiting or not are_waits_open:
        return RELEASE if is_draining else None
    return Park(gathered=gathered)


def ending_of(
    decision: Complete | ContinueAsNew | Fail | EndCancelled | SetAside,
    policy: RunRetryPolicy,
    *,
    attempts: int,
    set_asides: int,
) -> Settle:
    """Returns the ending of a run whose machine has decided. ``attempts`` is the number of its failed attempts before
    this one."""
    match decision:
        case Complete(output):
            return Settle(status="completed", output=output)
        case ContinueAsNew(input, version, timeout):
            return NextChapter(status="queued", input=input, version=version, timeout=timeout)
        case EndCancelled(cancel, error):
            return cancelled(cancel, error)
        case SetAside():
            return Settle(
                status="sleeping",
                error=error_info(decision.error).text,
                wake_in=_SET_ASIDE_BACKOFF.delay(set_asides + 1),
                set_asides=set_asides + 1,
            )
        case Fail(_, exception):
            text = _failure_text(decision.error, exception)
            delay = None
            if not isinstance(exception, WorkflowCodeError):
                delay = policy.next_delay(attempts + 1, exception)
            if delay is None:
                return Settle(status="failed", error=text, failed_attempts=1)
            if delay <= 0:
                return Settle(status="queued", error=text, failed_attempts=1, is_retry=True)
            return Settle(status="sleeping", error=text, wake_in=delay, failed_attempts=1, is_retry=True)


def _failure_text(error: ErrorInfo, exception: BaseException) -> str:
    """Returns the encoded error, together with the keys of the waits whose timeout led to it: a retry of the run waits
    again."""
    members = raised_members(exception, with_causes=True, with_contexts=True)
    waits = [member.wait_key for member in members if isinstance(member, EventTimeout)]
    return msgspec.json.encode({**msgspec.structs.asdict(error), "waits": waits}).decode() if waits else error.text


def cancelled(cancel: Cancel, error: ErrorInfo | None = None) -> Settle:
    """Returns the ending of a run that was cancelled. ``error`` is what its cleanup raised."""
    is_late = cancel.cause == "deadline"
    message = "it did not end before its deadline" if is_late else cancel.reason or "no reason was given"
    if error is not None:
        message += f"; its cleanup raised {error.type}: {error.message}"
    info = ErrorInfo("RunTimeout" if is_late else "RunCancelled", message, error.traceback if error else None)
    return Settle(status="failed" if is_late else "cancelled", error=info.text, failed_attempts=int(is_late))
