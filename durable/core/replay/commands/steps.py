"""Calls that are performed: steps, values that are drawn, and replies."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from durable.core.codec.json_codec import Codec
from durable.core.errors import INTERRUPTED, StepFailed, StepInterrupted
from durable.core.failures import ErrorInfo
from durable.core.replay.commands.base import BaseCall
from durable.core.replay.history import Kind
from durable.core.replay.signatures import Signature
from durable.core.retry import RetryPolicy
from durable.core.runs import RunKey


class Execute(BaseCall, frozen=True):
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


class Draw(BaseCall, frozen=True):
    """Provide a value that is not determined by the code: randomness or the time."""

    source: Source

    @property
    def kind(self) -> Kind:
        return self.source

    @property
    def type(self) -> Any:
        return _DRAWN[self.source]


_DRAWN: dict[Source, Any] = {"random_uuid7": UUID, "random_uint64": int, "random": float, "now": datetime}


class Reply(BaseCall, frozen=True):
    """Answer the request with that id, or refuse it; ``text`` is the reply or the reason, encoded. Whoever asked is
    told with the flush that records the call."""

    request_id: str
    request_name: str
    text: str
    is_refused: bool

    @property
    def kind(self) -> Kind:
        return "reply"

    @property
    def name(self) -> str:
        return self.request_name

    def decode(self, text: str, codec: Codec, run_id: str) -> None:
        """Returns nothing, because nothing that a codec has written is recorded of it here."""
