"""What a machine asks its surroundings to do: frozen values, matched with ``match``.

A *call* is a command that will be answered and whose answer is memoized under its key. Its ``kind`` and ``name`` are
what a memo is compared with on replay.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import decode_at
from durable.core.errors import (
    INTERRUPTED,
    NondeterminismError,
    RunCancelled,
    RunFailed,
    StepFailed,
    StepInterrupted,
)
from durable.core.failures import ErrorInfo, error_info
from durable.core.replay.handles import Timer
from durable.core.replay.history import TIMER_KEYS, Cancel, ChildEnd, Kind, describe
from durable.core.replay.signatures import Signature
from durable.core.replay.workflow import Workflow
from durable.core.retry import RetryPolicy
from durable.core.run_options import CheckedOptions
from durable.core.runs import RunKey


class _Call(msgspec.Struct, frozen=True):
    key: str

    @property
    def kind(self) -> Kind:
        raise NotImplementedError  # a Struct cannot be abstract; each command has its own kind

    @property
    def name(self) -> str:
        return ""

    @property
    def type(self) -> Any:
        """The declared type of the answer."""
        return None

    def decode(self, text: str, codec: Codec, run_id: str) -> Any:
        """Returns the answer as the workflow sees it. Raises what the workflow sees instead."""
        return decode_at(codec, "step", run_id, self.key, text, self.type, self._answer)

    def failure(self, error: ErrorInfo) -> StepFailed:
        """Returns what the workflow sees if the call has failed for good."""
        return StepFailed(self.key, error)

    def _answer(self) -> str:
        return f"the answer to {self}"

    def __str__(self) -> str:
        return describe(self.kind, self.key, self.name)


class Execute(_Call, frozen=True):
    """Run ``fn(*args, **kwargs)`` outside any transaction of the engine."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    retry: RetryPolicy
    recorded_name: str
    is_at_most_once: bool
    signature: Signature
    context: contextvars.Context
    """The context variables as they were at the call."""

    @property
    def kind(self) -> Kind:
        return "execute"

    @property
    def name(self) -> str:
        return self.recorded_name

    @property
    def type(self) -> Any:
        return self.signature.returns

    def failure(self, error: ErrorInfo) -> StepFailed:
        if self.is_at_most_once and error.type == INTERRUPTED.type:
            return StepInterrupted(self.key, error)
        return StepFailed(self.key, error)


class Transact(Execute, frozen=True):
    """Run ``fn(tx, *args, **kwargs)`` in a transaction that also stores the memo."""

    @property
    def kind(self) -> Kind:
        return "transaction"


class ReadChild(Execute, frozen=True):
    """Read how far a child has come: a step whose ``fn`` is the engine's."""

    run_key: RunKey


class Undo(Execute, frozen=True):
    """Undo what another call has done: a compensation of ``ctx.saga``."""

    @property
    def kind(self) -> Kind:
        return "undo"


Source = Literal["random_uuid7", "random_uint64", "random", "now"]


class Draw(_Call, frozen=True):
    """Provide a value that is not determined by the code: randomness or the time."""

    source: Source

    @property
    def kind(self) -> Kind:
        return self.source

    @property
    def type(self) -> Any:
        return _DRAWN[self.source]


_DRAWN: dict[Source, Any] = {"random_uuid7": UUID, "random_uint64": int, "random": float, "now": datetime}


class Sleep(_Call, frozen=True):
    """Wake after ``seconds``, or at ``until`` if that is given, by the database's clock."""

    seconds: float
    until: datetime | None = None

    @property
    def kind(self) -> Kind:
        return "sleep"

    def decode(self, text: str, codec: Codec, run_id: str) -> None:
        """Returns nothing, because a sleep has no answer that a codec has written."""


class ArmTimer(Sleep, frozen=True):
    """Fire a timer of asyncio's after ``seconds``. ``is_sleep``: it only ends an ``asyncio.sleep``. ``is_open``: it was
    armed before this replay, and its time is running."""

    is_sleep: bool = True
    is_open: bool = False

    @classmethod
    def of(cls, timer: Timer, *, is_open: bool = False) -> ArmTimer:
        """Returns the command to arm a timer that has its number."""
        return cls(f"{TIMER_KEYS}{timer.number}", timer.delay, None, timer.is_sleep, is_open)

    @property
    def kind(self) -> Kind:
        return "timer"


class WaitEvent(_Call, frozen=True):
    """Take the oldest event with that name; give up after ``timeout`` seconds, or never if it is ``None``."""

    event_name: str
    payload_type: Any
    timeout: float | None

    @property
    def kind(self) -> Kind:
        return "event"

    @property
    def name(self) -> str:
        return self.event_name

    @property
    def type(self) -> Any:
        return self.payload_type

    def decode(self, text: str, codec: Codec, run_id: str) -> Any:
        return decode_at(codec, "event", run_id, self.event_name, text, self.payload_type, self._answer)


class StartChild(_Call, frozen=True):
    """Begin a run of ``workflow`` as a child of this one; ``input`` is encoded. The answer is the child's run key."""

    workflow: Workflow[Any, Any]
    input: str
    options: CheckedOptions

    @property
    def kind(self) -> Kind:
        return "child"

    @property
    def name(self) -> str:
        return self.workflow.name

    def decode(self, text: str, codec: Codec, run_id: str) -> Any:
        return self.begun(text)

    @staticmethod
    def answer(run_key: RunKey) -> str:
        """Returns the answer, encoded as plain JSON so that the engine can read it too."""
        return msgspec.json.encode(str(run_key)).decode()

    @staticmethod
    def begun(text: str) -> RunKey:
        """Returns the child that such an answer names."""
        return RunKey.parse(msgspec.json.decode(text, type=str))


class WaitChild(_Call, frozen=True):
    """Wait for the end of a child. ``codec`` is the one that encoded its output. ``is_held``: a cancel of the run is
    held until the child, which is cancelled first, has ended."""

    run_key: RunKey
    output_type: Any
    codec: Codec
    is_held: bool = False

    @property
    def kind(self) -> Kind:
        return "child_result"

    @property
    def name(self) -> str:
        return self.run_key.run_id

    @property
    def type(self) -> Any:
        return self.output_type

    def decode(self, text: str, codec: Codec, run_id: str) -> Any:
        end = ChildEnd.parse(text, f"the answer to {self}")
        if end.status == "cancelled":
            raise RunCancelled(self.run_key, end.error.message if end.error else "no reason was given")
        if end.error is not None:
            raise RunFailed(self.run_key, end.error)
        return decode_at(self.codec, "output", self.run_key.run_id, "", end.output_text, self.type, self._output)

    def _output(self) -> str:
        return f"the output of child {self.run_key}"


Wait: TypeAlias = Sleep | WaitEvent | WaitChild
Call: TypeAlias = Execute | Transact | Draw | StartChild | Wait


class Abandon(msgspec.Struct, frozen=True):
    """The workflow's own code cancelled this call; its answer is no longer wanted."""

    call: Call


class SetStatus(msgspec.Struct, frozen=True):
    """The run shows this from now on; ``text`` is encoded."""

    text: str


class CancelChild(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """The workflow's own code wants this child cancelled, and no longer waits for it, or may still (``is_awaited``)."""

    run_key: RunKey
    is_awaited: bool = False


class Patch(msgspec.Struct, frozen=True):
    """The code has asked ``ctx.patched`` under this key for the first time, and was told ``is_patched``."""

    key: str
    is_patched: bool


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


Command: TypeAlias = (
    Call | Abandon | CancelChild | SetStatus | Patch | Complete | ContinueAsNew | Fail | EndCancelled | SetAside
)
