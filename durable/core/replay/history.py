"""What a run has recorded, as the machine reads it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal, TypeAlias

import msgspec

from durable.core.codec.complaints import described
from durable.core.errors import DeserializationError
from durable.core.failures import ErrorInfo, storable
from durable.core.replay.tries import Tries

Kind = Literal[
    "execute",
    "transaction",
    "undo",
    "patched",
    "random_uuid7",
    "random_uint64",
    "random",
    "now",
    "sleep",
    "timer",
    "event",
    "request",
    "reply",
    "cancel",
    "child",
    "child_result",
    "publish",
]


class Value(msgspec.Struct, frozen=True, gc=False):
    """The call was answered with this encoded value."""

    text: str


class Failure(msgspec.Struct, frozen=True):
    """The step failed for good."""

    error: ErrorInfo


class TimedOut(msgspec.Struct, frozen=True):
    """The wait ended without its event."""


Outcome: TypeAlias = Value | Failure | TimedOut

ELAPSED = Value("null")
"""The outcome of a sleep."""


class Memo(msgspec.Struct, frozen=True, gc=False):
    """The recorded answer to a call.

    ``seq`` is the 1-based position in the order in which the run saw the answers. It is ``None`` for a transaction
    whose memo was committed but whose position was not: nothing later can have started, so it comes last. ``carried``
    memos were kept by a retry of the run: they answer whenever they are called and need not be called at all.

    ``at`` is when the run saw the answer, if its code had asked for the time by then; otherwise about when it was
    written, which no code can have seen.
    """

    key: str
    kind: Kind
    name: str
    seq: int | None
    carried: bool
    outcome: Outcome
    at: datetime | None = None

    def __str__(self) -> str:
        return describe(self.kind, self.key, self.name)


class Cancel(msgspec.Struct, frozen=True):
    """Why a run was cancelled: it was requested, perhaps with a reason, or its deadline passed. It is recorded like an
    answer, at its place in the order, under a key that no call can have."""

    cause: Literal["request", "deadline"]
    reason: str | None = None

    key: ClassVar[str] = ""

    @property
    def text(self) -> str:
        """The reason, encoded."""
        return msgspec.json.encode(self.reason).decode()

    @classmethod
    def of(cls, memo: Memo) -> Cancel:
        """Reads back a cancel that was recorded."""
        if memo.name == "deadline":
            return cls("deadline")
        return cls.requested(memo.outcome.text if isinstance(memo.outcome, Value) else "null")

    @classmethod
    def requested(cls, reason: str) -> Cancel:
        """Returns a requested cancel. ``reason`` is encoded; if it was written in any other form, it is dropped, but
        the cancel still counts."""
        try:
            text = msgspec.json.decode(reason, type=str | None)
            return cls("request", text if text is None else storable(text))
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            return cls("request")


class ChildEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a child ended, as it is reported to its parent. ``output`` is encoded by the child's codec."""

    # Comes first: the retry of a run sees by the start of the text whether the child must be begun again.
    status: Literal["completed", "failed", "cancelled"]
    output: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: ErrorInfo | None = None

    @property
    def output_text(self) -> str:
        """The encoded output of a completed child, exactly as it was given; empty if there is none."""
        return "" if self.output is msgspec.UNSET else bytes(self.output).decode()

    @property
    def text(self) -> str:
        """The end, encoded."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str, what: str) -> ChildEnd:
        """Reads back an encoded end. Raises ``DeserializationError`` for text that the engine cannot have written."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise DeserializationError(what, described(error)) from None


class OpenWait(msgspec.Struct, frozen=True, gc=False):
    """A sleep, or a wait for an event, a request or a child, that was begun and has no answer yet; or a step that has
    failed and will be tried again, or that may be called only once, with its ``tries``. ``is_gathering``: the first of
    several events has come, so that it is known when the wait ends."""

    key: str
    kind: Kind
    name: str
    tries: Tries | None = None
    is_gathering: bool = False

    def __str__(self) -> str:
        return describe(self.kind, self.key, self.name)


class History(msgspec.Struct, frozen=True, gc=False):
    """All memos of a run, in no particular order, and its open waits."""

    memos: tuple[Memo, ...] = ()
    open_waits: tuple[OpenWait, ...] = ()

    def in_order(self) -> list[Memo]:
        """Returns the memos that a replay must meet, in the order in which it must meet them."""
        return sorted(
            (memo for memo in self.memos if not memo.carried),
            key=lambda memo: (memo.seq is None, memo.seq or 0, memo.key),
        )


NO_HISTORY = History()
"""The history of a run that is just beginning, or of one whose memos have all been replayed."""


REPLY = ":reply"
"""How the key of a reply ends; the key of the wait that took the request comes before."""

UNDO = ":undo"
"""How the key of a compensation ends; the key of the call that it undoes comes before."""

TIMER_KEYS = "asyncio:timer:"
"""How the keys of asyncio's timers begin; no other key may begin like that. Their number follows."""


def describe(kind: Kind, key: str, name: str) -> str:
    """Returns how a call is named in messages, such as ``execute 'charge' of charge_card``."""
    match kind:
        case "execute" | "transaction":
            return f"{kind} {key!r} of {name}"
        case "undo":
            return f"undo {key.removesuffix(UNDO)!r} by {name}"
        case "event":
            return f"wait_for_event {key!r} for {name!r}"
        case "request":
            return f"wait_for_request {key!r} for {name!r}"
        case "reply":
            return f"the reply {key!r} to request {name!r}"
        case "timer" if not key.startswith(TIMER_KEYS):
            return f"timeout {key!r}"
        case "timer":
            return f"timer {key.removeprefix(TIMER_KEYS)} of asyncio (asyncio.sleep, timeout, wait_for and the like)"
        case "child":
            return f"child {key!r} of workflow {name!r}"
        case "publish":
            return f"publish_event {key!r} of {name!r}"
        case "child_result":
            return f"the wait {key!r} for child {name}"
        case _:
            return f"{kind} {key!r}"
