"""The tree of errors. Each carries its data as attributes and a message that says what was found and what to do."""

from __future__ import annotations

from typing import Never, NoReturn

from durable.core.failures import ErrorInfo
from durable.core.runs import RunKey


class DurableError(Exception):
    """Root of every error this library raises on purpose."""


class InvalidArgument(DurableError, ValueError):
    """An argument breaks a rule; nothing was stored and nothing was run.

    ``argument`` is its name, ``value`` what was given, ``rule`` what it must be.
    """

    def __init__(self, argument: str, value: object, rule: str) -> None:
        super().__init__(f"{argument} must be {rule}, got {shown(value)}")
        self.argument = argument
        self.value = value
        self.rule = rule


class SerializationError(DurableError, TypeError):
    """A value cannot be stored and read back unchanged. ``path`` leads to the culprit; ``$`` is the value itself."""

    def __init__(self, what: str, path: str, reason: str) -> None:
        super().__init__(f"{what}: {path} {reason}")
        self.what = what
        self.path = path
        self.reason = reason


class DeserializationError(DurableError):
    """A stored value does not fit the type that the code declares for it."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: the stored value does not fit the declared type: {reason}")
        self.what = what
        self.reason = reason


class WorkflowCodeError(DurableError):
    """Workflow code did what only a step may do, or broke a rule of the Context; the message says what to write."""


class WorkflowCodeWarning(UserWarning):
    """Workflow code calls something that a replay would answer differently; the message says what to write instead."""


class DuplicateKey(WorkflowCodeError):
    """A step or wait key was used twice in one run. Keys name the memo: inside a loop, put the index into the key."""

    def __init__(self, key: str, first: str, second: str) -> None:
        super().__init__(
            f"the key {key!r} is used twice in this run: first by {first}, now by {second}; "
            "every call needs a key of its own (in a loop, put the index into it)"
        )
        self.key = key


class NondeterminismError(DurableError):
    """The code calls something other than what this run has recorded. Nothing was executed; the run is set aside
    and goes on by itself when matching code claims it."""

    def __init__(self, recorded: str, called: str) -> None:
        super().__init__(
            f"this run has recorded {recorded}, but the code now calls {called}; "
            "deploy the code that recorded it, or restore the call, and the run goes on by itself"
        )
        self.recorded = recorded
        self.called = called


class StepFailed(DurableError):
    """A step used up its retries. The same on the first run and on every replay; only on the first run is the
    original exception its ``__cause__``."""

    def __init__(self, step_key: str, error: ErrorInfo) -> None:
        super().__init__(f"step {step_key!r} failed: {error.type}: {error.message}")
        self.step_key = step_key
        self.error_type = error.type
        self.message = error.message
        self.traceback = error.traceback


class Terminal(DurableError):
    """Raise it anywhere to skip every retry, of the step and of the run."""


class EventTimeout(DurableError):
    """No event arrived within the timeout of ``ctx.wait_for_event``."""

    def __init__(self, wait_key: str, event_name: str) -> None:
        super().__init__(f"no event {event_name!r} arrived in time for the wait {wait_key!r}")
        self.wait_key = wait_key
        self.event_name = event_name


class RunNotFound(DurableError):
    """No such run: never begun, begun in a transaction that rolled back, or pruned."""

    def __init__(self, run_key: RunKey) -> None:
        super().__init__(f"there is no run {run_key}: it was never committed, or was pruned")
        self.run_key = run_key


class RunNotCompleted(DurableError):
    """The output of a run was asked for that has none (yet)."""

    def __init__(self, run_key: RunKey, status: str) -> None:
        super().__init__(f"run {run_key} has no output: its status is {status!r}")
        self.run_key = run_key
        self.status = status


class RunFailed(DurableError):
    """The run whose result was awaited ended ``failed``; ``error`` says with what."""

    def __init__(self, run_key: RunKey, error: ErrorInfo) -> None:
        super().__init__(f"run {run_key} failed: {error.type}: {error.message}")
        self.run_key = run_key
        self.error = error


class RunCancelled(DurableError):
    """The run whose result was awaited was cancelled; ``reason`` says why, and what its clean-up raised."""

    def __init__(self, run_key: RunKey, reason: str) -> None:
        super().__init__(f"run {run_key} was cancelled: {reason}")
        self.run_key = run_key
        self.reason = reason


class RunTerminal(DurableError):
    """An event was published to a run that has already ended and can never receive it."""

    def __init__(self, run_key: RunKey, status: str) -> None:
        super().__init__(f"run {run_key} has already ended ({status}); the event was not stored")
        self.run_key = run_key
        self.status = status


class RunNotCancellable(DurableError):
    """The run has already ended, so there is nothing to cancel or to terminate."""

    def __init__(self, run_key: RunKey, status: str) -> None:
        super().__init__(f"run {run_key} cannot be cancelled: it has already ended ({status})")
        self.run_key = run_key
        self.status = status


class RunNotRetryable(DurableError):
    """Only a run that failed or was cancelled can be retried."""

    def __init__(self, run_key: RunKey, status: str) -> None:
        super().__init__(f"run {run_key} cannot be retried: its status is {status!r}, neither 'failed' nor 'cancelled'")
        self.run_key = run_key
        self.status = status


class ScheduleNotFound(DurableError):
    """No schedule of that id."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"there is no schedule {schedule_id!r}: it was never committed, or was deleted")
        self.schedule_id = schedule_id


class ResultTimeout(DurableError, TimeoutError):
    """The run did not end within the timeout given to ``Handle.result``. The run itself goes on."""

    def __init__(self, run_key: RunKey, timeout: float, status: str) -> None:
        super().__init__(f"run {run_key} did not end within {timeout:g} s: its status is {status!r}; it goes on")
        self.run_key = run_key
        self.timeout = timeout
        self.status = status


class SchemaError(DurableError):
    """The database does not hold the schema this version needs; the message names the command that mends it."""


def shown(value: object) -> str:
    """The value for a message; its class where it cannot be shown."""
    try:
        return shorten(repr(value))
    except Exception:  # the __repr__ of somebody else, or nesting, or digits beyond what Python shows
        return f"<{type(value).__name__}>"


def shorten(text: str, limit: int = 200) -> str:
    """At most ``limit`` characters, the cut marked by an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def unreachable(value: Never) -> NoReturn:
    """For the last arm of a ``match``: the type checkers prove it dead."""
    raise AssertionError(f"unexpected {value!r}")
