"""What a machine asks of the world: frozen values, matched with ``match``.

A *call* is a command that will be answered and whose answer is memoized under its key. Its ``kind`` and ``name`` are
what a memo is compared with on replay.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from durable.core.errors import ErrorInfo, NondeterminismError
from durable.core.history import Cancel, Kind, describe
from durable.core.retry import RetryPolicy
from durable.core.workflow import Signature


class _Call(msgspec.Struct, frozen=True):
    key: str

    @property
    def kind(self) -> Kind:
        raise NotImplementedError

    @property
    def name(self) -> str:
        return ""

    @property
    def type(self) -> Any:
        """The declared type of the answer."""
        return None

    def __str__(self) -> str:
        return describe(self.kind, self.key, self.name)


class Execute(_Call, frozen=True):
    """Run ``fn(*args)`` outside of any transaction of ours."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    retry: RetryPolicy
    signature: Signature

    @property
    def kind(self) -> Kind:
        return "execute"

    @property
    def name(self) -> str:
        return self.signature.name

    @property
    def type(self) -> Any:
        return self.signature.returns


class Transact(Execute, frozen=True):
    """Run ``fn(tx, *args)`` in a transaction that also stores the memo."""

    @property
    def kind(self) -> Kind:
        return "transaction"


Source = Literal["random_uuid7", "random_uint64", "random", "now"]


class Draw(_Call, frozen=True):
    """Give a value that is not determined by the code: randomness or the time."""

    source: Source

    @property
    def kind(self) -> Kind:
        return self.source

    @property
    def type(self) -> Any:
        return _DRAWN[self.source]


_DRAWN: dict[Source, Any] = {"random_uuid7": UUID, "random_uint64": int, "random": float, "now": datetime}


class Sleep(_Call, frozen=True):
    """Wake after ``seconds``, or at ``until`` where that is given, by the database's clock."""

    seconds: float
    until: datetime | None = None

    @property
    def kind(self) -> Kind:
        return "sleep"


class WaitEvent(_Call, frozen=True):
    """Take the oldest event of that name; give up after ``timeout`` seconds, or never where it is ``None``."""

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


Call: TypeAlias = Execute | Transact | Draw | Sleep | WaitEvent


class Abandon(msgspec.Struct, frozen=True):
    """The workflow's own code cancelled this call; its answer is no longer wanted."""

    call: Call


class Complete(msgspec.Struct, frozen=True):
    """The workflow returned; ``output`` is encoded."""

    output: str


class Fail(msgspec.Struct, frozen=True):
    """The workflow raised."""

    error: ErrorInfo
    exception: BaseException


class EndCancelled(msgspec.Struct, frozen=True):
    """The workflow has ended, however it did, after it was cancelled. ``error`` is what it raised instead of
    ``CancelledError``, ``None`` where all went well."""

    cancel: Cancel
    error: ErrorInfo | None


class SetAside(msgspec.Struct, frozen=True):
    """The code does not match what was recorded; nothing may be executed."""

    error: NondeterminismError


Command: TypeAlias = Call | Abandon | Complete | Fail | EndCancelled | SetAside
