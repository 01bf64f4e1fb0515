"""What a begin with a key does: the runs that have one key, one after the other, are its generations.

At most one of them executes at a time. One that is begun in place of another therefore follows it: it starts when the
other one has ended, clean-up included. What is to happen then is kept in the inbox of the other one, as the payload of
an entry of the kind ``next``, and is read by ``read_next``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeAlias

import msgspec

from durable.core.runs import TERMINAL, RunKey, Status

IfActive: TypeAlias = Literal["join", "refuse", "cancel", "terminate"]
"""What a begin does if a run with its key has not ended."""
IfEnded: TypeAlias = Literal["join", "begin_anew"]
"""What a begin does if all runs with its key have ended."""

_LAST = datetime(9800, 1, 1, tzinfo=UTC)  # leaves room for a timeout
_FIRST = datetime(3, 1, 1, tzinfo=UTC)
_MAX_SECONDS = 3_155_760_000.0  # a century

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=_MAX_SECONDS)]
_Integer = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class Newest(msgspec.Struct, frozen=True):
    """The run of a key that was begun last. ``begin_id`` names the call that began it, if that is known."""

    run_key: RunKey
    generation: int
    status: Status
    begin_id: str | None = None

    @property
    def is_active(self) -> bool:
        """Returns whether it has not ended."""
        return self.status not in TERMINAL


class Join(msgspec.Struct, frozen=True):
    """The call gives a handle of the newest run."""

    newest: Newest


class Refuse(msgspec.Struct, frozen=True):
    """The call is refused."""

    newest: Newest


class BeginGeneration(msgspec.Struct, frozen=True):
    """The call begins a run: one that starts at once, or that ``follows`` the newest one, of which a cancel or a
    termination may be requested as well."""

    generation: int = 0
    follows: RunKey | None = None
    request: Literal["cancel", "terminate"] | None = None


Decision: TypeAlias = Join | Refuse | BeginGeneration


def decide(newest: Newest | None, if_active: IfActive, if_ended: IfEnded) -> Decision:
    """Returns what a begin does. A run that may be retried is followed although it has ended: whether it is retried
    after all, and then ends once more, is known only under its lock."""
    if newest is None:
        return BeginGeneration()
    if newest.is_active:
        match if_active:
            case "join":
                return Join(newest)
            case "refuse":
                return Refuse(newest)
            case request:
                return BeginGeneration(newest.generation + 1, newest.run_key, request)
    if if_ended == "join":
        return Join(newest)
    return BeginGeneration(newest.generation + 1, None if newest.status == "completed" else newest.run_key)


class _Start(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", omit_defaults=True):
    at: datetime | None = None
    delay: _Seconds | None = None
    timeout: _Seconds | None = None

    @property
    def text(self) -> str:
        """The encoded payload."""
        return msgspec.json.encode(self).decode()

    def wake_at(self, begun_at: datetime) -> datetime | None:
        """Returns the earliest time at which the run starts, if it was begun at that time; ``None``: at once."""
        if self.delay is not None:
            return min(begun_at + timedelta(seconds=self.delay), _LAST)
        if self.at is None or self.at.tzinfo is None:
            return None
        return min(max(self.at, _FIRST), _LAST)


class Follower(_Start, frozen=True, tag="start"):
    """A run that was begun already starts. ``delay`` and ``timeout`` are in seconds; the timeout counts from its
    start."""


class Bequest(_Start, frozen=True, kw_only=True, tag="begin"):
    """If an event that a begin has sent is unread, another run with the same key begins, for that event, with the tags,
    the headers and the priority of the one that has ended: row-level security may have checked those, and does not
    check what is in here. ``input`` is encoded. ``is_own``: the run that has ended is the one that this begin has
    begun; it may have read older events in place of that one."""

    version: _Integer
    input: msgspec.Raw
    is_own: bool = False


_NEXT: msgspec.json.Decoder[Follower | Bequest] = msgspec.json.Decoder(Follower | Bequest)


def read_next(text: str) -> Follower | Bequest | None:
    """Returns what is to happen once a run has ended; ``None`` if the text is none that a client writes."""
    try:
        return _NEXT.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError):
        return None
