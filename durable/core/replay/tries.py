"""What is recorded of a step that has no answer yet: its failed tries, or that it was started."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from durable.core.failures import ErrorInfo

StepKind = Literal["execute", "transaction", "undo"]


class Tries(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tries of one step so far. ``failures`` are those that failed, the last one with ``error``; ``began`` is when
    the first one began. ``detail`` is what the step last said with its heartbeat, encoded. ``is_mark``: the step may be
    called at most once, and its call may have begun."""

    kind: StepKind
    began: datetime
    failures: int = 0
    error: ErrorInfo | None = None
    detail: str | None = None
    is_mark: bool = False

    @property
    def text(self) -> str:
        """The tries, encoded."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str) -> Tries | None:
        """Reads back encoded tries. Returns ``None`` for a text that the engine cannot have written: a single row that
        was written by hand must not hide the rows that are read along with it."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return None


class FailedTry(msgspec.Struct, frozen=True):
    """A try that failed and will be followed by another one, ``delay`` seconds later."""

    error: ErrorInfo
    delay: float


def still_failing(key: str, tries: Tries) -> ErrorInfo:
    """Returns the error that a run shows while a step of it waits for its next try."""
    error = tries.error or ErrorInfo("StepFailed", "no reason was recorded")
    message = f"step {key!r} failed in try {tries.failures} and will be tried again: {error.type}: {error.message}"
    return msgspec.structs.replace(error, type="StepFailed", message=message)
