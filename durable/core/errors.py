"""The exception hierarchy. Each error carries its data as attributes and a message that says what was found and what to
do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Never, NoReturn, Self

from durable.core.failures import ErrorInfo
from durable.core.runs import RunKey


class DurableError(Exception):
    """Base class of every error that this library raises on purpose. All can be pickled and copied."""

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is made again by calling its class with its message, which those of ours do not take.
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(kind: type[DurableError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> DurableError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class InvalidArgument(DurableError, ValueError):
    """An argument breaks a rule; nothing was stored and nothing was run.

    ``argument`` is its name, ``value`` is what was passed, and ``rule`` says what it must be. ``got`` is shown in place
    of a value that must not appear in a message.
    """

    def __init__(self, argument: str, value: object, rule: str, *, got: str | None = None) -> None:
        super().__init__(f"{argument} must be {rule}, got {shown(value) if got is None else got}")
        self.argument = argument
        self.value = value
        self.rule = rule


class SerializationError(DurableError, TypeError):
    """A value cannot be stored and read back unchanged. ``path`` leads to the culprit; ``$`` stands for the value
    itself."""

    def __init__(self, what: str, path: str, reason: str) -> None:
        super().__init__(f"{what}: {path} {reason}")
        self.what = what
        self.path = path
        self.reason = reason


class LossyType(SerializationError):
    """Values of a declared type can be stored, but would never come back whole. They are refused."""


class DeserializationError(DurableError):
    """A stored value does not fit the type that the code declares for it."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: the stored value does not fit the declared type: {reason}")
        self.what = what
        self.reason = reason


class WorkflowCodeError(DurableError):
    """Workflow code did what only a step may do, or broke a rule of the Context; the message says what to write
    instead."""


class WorkflowCodeWarning(UserWarning):
    """Workflow code calls something that is not safe to replay, because a replay would get a different result, or
    declares a type whose values will be refused; the message says what to write instead."""


class DuplicateKey(WorkflowCodeError):
    """A step or wait key was used twice in one run. The key names the memo, so inside a loop include the index in the
    key."""

    def __init__(self, key: str, first: str, second: str) -> None:
        super().__init__(
            f"the key {key!r} is used twice in this run: first by {first}, now by {second}; "
            "every call needs its own key (in a loop, include the index in the key)"
        )
        self.key = key


class NondeterminismError(DurableError):
    """The code calls something other than what this run has recorded, or declares another type for it. Nothing was
    executed; the run is set aside and continues automatically when a worker with matching code claims it."""

    def __init__(self, recorded: str, called: str) -> None:
        super().__init__(
            f"this run has recorded {recorded}, but the code now calls {called}; "
            "deploy the code that recorded it, or restore the call, and the run will continue automatically. "
            "If the code has not changed, its order depends on something that no replay repeats: a set of strings "
            "(PYTHONHASHSEED), the clock or random module, the environment, or an object that is shared between runs"
        )
        self.recorded = recorded
        self.called = called

    @classmethod
    def of_type(cls, unfit: DeserializationError) -> NondeterminismError:
        """Returns the error about a recorded value that does not fit the type that the code declares for it."""
        error = cls(unfit.what, f"a type that it does not fit: {unfit.reason}")
        message = f"{unfit.what} is recorded, but does not fit the type that the code declares for it: {unfit.reason}"
        error.args = (f"{message}; deploy code that it fits, and the run will continue automatically",)
        return error


class StepFailed(DurableError):
    """A step used up its retries. The error is the same on the first run and on every replay: the original exception is
    known by its type's name, its message and its traceback only, and is shown with them in a note."""

    def __init__(self, step_key: str, error: ErrorInfo) -> None:
        super().__init__(f"step {step_key!r} failed: {error.type}: {error.message}")
        self.step_key = step_key
        self.error_type = error.type
        self.message = error.message
        self.traceback = error.traceback
        self.is_final = error.is_final
        if error.traceback:
            self.add_note(f"The step's own traceback:\n{error.traceback}")


class StepInterrupted(StepFailed):
    """A step with ``at_most_once`` was interrupted by the end of its worker. Whether its function was called, and how
    far it came, is not known; it is not called again."""

    def __init__(self, step_key: str, error: ErrorInfo | None = None) -> None:
        super().__init__(step_key, error or INTERRUPTED)
        self.args = (f"step {step_key!r} was interrupted: {self.message}",)


INTERRUPTED = ErrorInfo(
    "StepInterrupted",
    "it may be called at most once, and its worker ended after the call may have begun; find out what it did before "
    "going on",
)
"""What is recorded of a step that was interrupted."""


class MapFailed(DurableError, ExceptionGroup[StepFailed]):
    """More items of a ``ctx.map`` failed than may. Its ``exceptions`` are the errors of those that failed, in the order
    in which they did; what was not under way by then was not called."""

    def __new__(cls, key: str, items: int, max_failures: int, failures: Sequence[StepFailed]) -> Self:
        may = "none may" if max_failures == 0 else f"at most {max_failures} may"
        message = f"map {key!r}: {len(failures)} of {items} items failed, {may}; first {failures[0]}"
        error = super().__new__(cls, message, failures)
        error.key, error.items, error.max_failures = key, items, max_failures
        return error

    key: str
    items: int
    max_failures: int

    def __init__(self, key: str, items: int, max_failures: int, failures: Sequence[StepFailed]) -> None:
        super().__init__(self.message, failures)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.key, self.items, self.max_failures, list(self.exceptions))


class Terminal(DurableError):
    """Raise this anywhere to skip all retries, both of the step and of the run."""


class EventTimeout(DurableError):
    """No event arrived within the timeout of ``ctx.wait_for_event``, or no request within that of
    ``ctx.wait_for_request``."""

    def __init__(self, wait_key: str, event_name: str, *, what: str = "event") -> None:
        super().__init__(f"no {what} {event_name!r} arrived in time for the wait {wait_key!r}")
        self.wait_key = wait_key
        self.event_name = event_name


class OutsideOfRun(DurableError):
    """Something was asked for that only the code of a run has, or only a step."""


class NotInTransaction(DurableError):
    """A method that ends in ``_tx`` was given a connection on which no transaction is open: what it stores would stay,
    even if the caller believes that it was rolled back. Nothing was stored."""

    def __init__(self, tx: str, how: str) -> None:
        super().__init__(
            f"tx is a {tx} that is not in a transaction: use begin(), or open one ({how}); every method that ends in "
            "_tx has a counterpart without it, as begin_tx() has begin()"
        )


class _WrongStatus(DurableError):
    _says: ClassVar[str] = "run {run_key} is {status}"

    def __init__(self, run_key: RunKey, status: str) -> None:
        super().__init__(self._says.format(run_key=run_key, status=status))
        self.run_key = run_key
        self.status = status


class RunNotFound(DurableError):
    """There is no such run: it was never begun, was begun in a transaction that rolled back, or was pruned."""

    def __init__(self, run_key: RunKey, named: str | None = None) -> None:
        super().__init__(f"there is no run {named or run_key}: it was never committed, or was pruned")
        self.run_key = run_key
        self.named = named
        """How the run was named, if not by its key: its workflow and the key it was begun with."""


class RunExists(_WrongStatus):
    """A run was to be begun, but another one with the same workflow and key has not ended, and ``if_active`` is
    ``"refuse"``. Nothing was stored."""

    _says = "run {run_key} has the same key and has not ended: its status is {status!r}"


class RunNotCompleted(_WrongStatus):
    """The output was requested of a run that has none (yet)."""

    _says = "run {run_key} has no output: its status is {status!r}"


class RunFailed(DurableError):
    """The run whose result was awaited ended ``failed``; ``error`` describes the failure."""

    def __init__(self, run_key: RunKey, error: ErrorInfo) -> None:
        super().__init__(f"run {run_key} failed: {error.type}: {error.message}")
        self.run_key = run_key
        self.error = error


class RunCancelled(DurableError):
    """The run whose result was awaited was cancelled; ``reason`` says why, and what its cleanup raised."""

    def __init__(self, run_key: RunKey, reason: str) -> None:
        super().__init__(f"run {run_key} was cancelled: {reason}")
        self.run_key = run_key
        self.reason = reason


class RunTerminal(_WrongStatus):
    """An event was published to a run that has already ended and can never receive it."""

    _says = "run {run_key} has already ended ({status}); the event was not stored"


class RunNotCancellable(_WrongStatus):
    """The run has already ended, so there is nothing to cancel or terminate."""

    _says = "run {run_key} cannot be cancelled: it has already ended ({status})"


class RunNotPausable(_WrongStatus):
    """Only a run that has not ended can be paused."""

    _says = "run {run_key} cannot be paused: it has already ended ({status})"


class RunNotPaused(_WrongStatus):
    """Only a run that is paused, or whose pause was requested, can be resumed."""

    _says = "run {run_key} cannot be resumed: it is not paused, its status is {status!r}"


class RunNotReschedulable(_WrongStatus):
    """Only a run that waits for a time, or to be claimed, has a time that can be changed."""

    _says = "run {run_key} has no time that can be changed: its status is {status!r}"


class RunNotRetryable(DurableError):
    """Only a run that failed, was cancelled or is set aside can be retried, and of the runs with one key only the
    newest. ``is_replaced``: there is a newer one."""

    def __init__(self, run_key: RunKey, status: str, *, is_replaced: bool = False) -> None:
        reason = f"its status is {status!r}, not 'failed' or 'cancelled'"
        if is_replaced:
            reason = "another run was begun with its key, and only the newest can be retried"
        super().__init__(f"run {run_key} cannot be retried: {reason}")
        self.run_key = run_key
        self.status = status
        self.is_replaced = is_replaced


class RequestTimeout(DurableError, TimeoutError):
    """A request was not answered within the timeout. It stays in the run's inbox and may still be answered: asking
    again with the same ``key`` gives that reply.

    ``is_served`` says whether a living worker has the workflow; it is ``None`` if that is not known.
    """

    def __init__(
        self, run_key: RunKey, name: str, key: str, timeout: float, status: str, *, is_served: bool | None = None
    ) -> None:
        what_now = "it stays in its inbox; ask again with the same key to wait longer"
        if is_served is False:
            what_now = f"no living worker has the workflow {run_key.workflow_name!r}; start one, and it is asked"
        super().__init__(
            f"run {run_key} did not answer request {name!r} with key {key!r} within {timeout:g} s: "
            f"its status is {status!r}; {what_now}"
        )
        self.run_key = run_key
        self.name = name
        self.key = key
        self.timeout = timeout
        self.status = status
        self.is_served = is_served


class RequestRefused(DurableError):
    """The run has refused a request; ``reason`` says why."""

    def __init__(self, run_key: RunKey, name: str, reason: str) -> None:
        super().__init__(f"run {run_key} has refused request {name!r}: {reason}")
        self.run_key = run_key
        self.name = name
        self.reason = reason


class RequestNotFound(DurableError):
    """There is no such request: it was made in a transaction that rolled back or has not committed, or it was answered
    long ago and forgotten with a chapter of its run."""

    def __init__(self, run_key: RunKey, name: str, key: str) -> None:
        super().__init__(
            f"run {run_key} has no request {name!r} with key {key!r}: it was never committed, or was forgotten after "
            "it had been answered"
        )
        self.run_key = run_key
        self.name = name
        self.key = key


class RunEnded(DurableError):
    """The run that was asked has ended without an answer to the request, or had ended before. If it is retried, asking
    again with the same ``key`` may still give a reply."""

    def __init__(self, run_key: RunKey, name: str, key: str, status: str) -> None:
        super().__init__(f"run {run_key} has ended ({status}) and has not answered request {name!r}")
        self.run_key = run_key
        self.name = name
        self.key = key
        self.status = status


class ScheduleNotFound(DurableError):
    """There is no schedule with that id."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(f"there is no schedule {schedule_id!r}: it was never committed, or was deleted")
        self.schedule_id = schedule_id


class ResultTimeout(DurableError, TimeoutError):
    """The run did not end within the timeout given to ``Handle.result``. The run itself continues.

    ``is_served`` says whether a living worker has the workflow; it is ``None`` if that is not known.
    """

    def __init__(
        self,
        run_key: RunKey,
        timeout: float,
        status: str,
        *,
        is_served: bool | None = None,
    ) -> None:
        what_now = "it continues"
        if is_served is False:
            what_now = f"no living worker has the workflow {run_key.workflow_name!r}; start one, and the run continues"
        super().__init__(f"run {run_key} did not end within {timeout:g} s: its status is {status!r}; {what_now}")
        self.run_key = run_key
        self.timeout = timeout
        self.status = status
        self.is_served = is_served


class SchemaError(DurableError):
    """The database does not have the schema that this version needs; the message names the command that fixes it."""


def shown(value: object) -> str:
    """Returns the value as shown in a message, or its class if it cannot be shown."""
    try:
        return shorten(repr(value))
    except Exception:  # a third-party __repr__, or more nesting or digits than Python can show
        return f"<{type(value).__name__}>"


def shorten(text: str, limit: int = 200) -> str:
    """Returns at most ``limit`` characters of the text; an ellipsis marks the cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def unreachable(value: Never) -> NoReturn:
    """Marks the last arm of a ``match``, which type checkers prove unreachable."""
    raise AssertionError(f"unexpected {value!r}")
