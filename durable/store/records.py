"""What one flush writes about one run, and what it learns.

Thousands of these objects are created per second, and none of them is ever part of a cycle: with ``gc=False`` the
garbage collector need not look at them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from durable.core.replay.commands import Publish, StartChild
from durable.core.replay.endings import Ending
from durable.core.replay.history import History, Kind
from durable.core.replay.targets import Keyed
from durable.core.run_options import CheckedOptions
from durable.core.runs import RunKey
from durable.store.sequels import Sequel


class ClaimedRun(msgspec.Struct, frozen=True, gc=False):
    """A run as its claim returns it. ``attempts`` counts the failed ones. ``input`` is ``None`` if it is too large to
    be loaded. ``claimed_at`` is the database's time, and ``deadline_in`` is in seconds from then, ``None`` without a
    deadline. ``strikes`` are the workers in a row that died with it."""

    run_id: str
    epoch: int
    version: int
    attempts: int
    set_asides: int
    input: str | None
    claimed_at: datetime
    deadline_in: float | None
    scheduled_at: datetime | None
    parent_shard: str | None = None
    parent_run_id: str | None = None
    strikes: int = 0
    began_at: datetime | None = None
    """When this attempt was claimed first, by the database's time; ``None`` if that was now."""
    tags: str | None = None
    headers: str | None = None
    lone_strikes: int = 0
    chapter: int | None = None
    """``None`` is the first."""
    is_keyed: bool = False
    """Whether it was begun with a key, so that something may be to happen once it has ended."""

    @property
    def parent(self) -> RunKey | None:
        """The run of which this one is a child; ``None`` if it is not a child."""
        if self.parent_shard is None or self.parent_run_id is None:
            return None
        return RunKey(self.parent_shard, self.parent_run_id)


class StepMemo(msgspec.Struct, frozen=True, gc=False):
    """A finished step. ``took`` is in seconds; exactly one of ``output`` and ``error`` is set. ``at`` is when the run
    saw it; if that is ``None``, which means that its code did not ask, the time of the flush is stored. The same is
    true of the other answers. ``seq`` is ``None`` if the run has not seen it."""

    key: str
    kind: Kind
    seq: int | None
    fn: str
    attempts: int
    took: float
    input: str | None
    output: str | None
    error: str | None
    at: datetime | None = None


class PatchMemo(msgspec.Struct, frozen=True, gc=False):
    """Which way a run goes at a place where its code was changed; ``output`` is ``true`` or ``false``. It has no place
    in the order: like what a retry carries, it answers if it is called."""

    key: str
    output: str


class ReplyMemo(msgspec.Struct, frozen=True, gc=False):
    """The answer to the request with that id and name: ``reply`` is what the run has replied, or why it has refused,
    encoded."""

    key: str
    seq: int
    name: str
    request_id: str
    reply: str
    is_refused: bool
    at: datetime | None = None


class CancelMemo(msgspec.Struct, frozen=True, gc=False):
    """A cancel, at its place in the order. ``reason`` is encoded: text or null."""

    seq: int
    cause: Literal["request", "deadline"]
    reason: str
    at: datetime | None = None


class ChildMemo(msgspec.Struct, frozen=True, gc=False):
    """A child that begins. ``key`` is the key that its parent gave it, and ``input`` is encoded."""

    key: str
    seq: int
    run_key: RunKey
    workflow_name: str
    version: int
    input: str
    options: CheckedOptions = CheckedOptions()
    at: datetime | None = None

    @property
    def child_shard(self) -> str:
        return self.run_key.workflow_name_shard

    @property
    def child_run_id(self) -> str:
        return self.run_key.run_id

    @property
    def output(self) -> str:
        """What the call returns, encoded."""
        return StartChild.answer(self.run_key)


class PublishedMemo(msgspec.Struct, frozen=True, gc=False):
    """An event that the run sends to another run; ``payload`` is encoded."""

    key: str
    seq: int
    event_id: str
    event_name: str
    target: RunKey | Keyed
    payload: str
    at: datetime | None = None

    @property
    def output(self) -> str:
        """What the call returns, encoded."""
        return Publish.answer(self.event_id)

    def __str__(self) -> str:
        return f"event {self.event_name!r} to run {self.target}"


class OpenedWait(msgspec.Struct, frozen=True, gc=False):
    """A wait that begins. It ends after ``wake_in`` seconds or at ``until``; if both are ``None``, it has no time
    limit. ``child_run_id`` is the run whose end it waits for; ``is_timer``: it is a timer of asyncio's;
    ``is_request``: ``event_name`` is the name of a request."""

    key: str
    event_name: str | None = None
    child_run_id: str | None = None
    wake_in: float | None = None
    until: datetime | None = None
    is_timer: bool = False
    is_request: bool = False

    @property
    def wait_type(self) -> Kind:
        if self.is_timer:
            return "timer"
        if self.child_run_id is not None:
            return "child_result"
        if self.is_request:
            return "request"
        return "sleep" if self.event_name is None else "event"


class AnsweredWait(msgspec.Struct, frozen=True, gc=False):
    """A wait that ended: by an event, by the end of a child, by its timeout or, if it is a sleep, because its time was
    up. ``unfit``: the payload of the event does not fit the type that the code declares. ``also``: the events that
    ended it together with that one."""

    key: str
    seq: int
    timed_out: bool
    event_id: str | None
    payload: str | None
    at: datetime | None = None
    unfit: bool = False
    also: tuple[str, ...] = ()


class GatheringWait(msgspec.Struct, frozen=True, gc=False):
    """An open wait for several events, of which the first has come. It ends at ``until``."""

    key: str
    until: datetime


class OrderedStep(msgspec.Struct, frozen=True, gc=False):
    """The place in the order of a transaction whose memo has been committed."""

    key: str
    seq: int
    at: datetime | None = None


class RecordedTry(msgspec.Struct, frozen=True, gc=False):
    """What is recorded of a step that has no answer yet; see ``Tries``, which are the encoded ``payload``. The step is
    due again at ``until``; ``None`` for one that may be called at most once."""

    key: str
    fn: str
    until: datetime | None
    payload: str

    @property
    def wait_type(self) -> str:
        return "start" if self.until is None else "retry"


class AbandonedWait(msgspec.Struct, frozen=True, gc=False):
    """A wait that the workflow no longer needs, or tries of a step that has its answer."""

    key: str


class DroppedTimer(msgspec.Struct, frozen=True, gc=False):
    """An open timer that changed code no longer arms. Another one may get its number, and so its key, before this is
    written."""

    key: str


class MetRequest(msgspec.Struct, frozen=True, gc=False):
    """A request to the engine that has been met."""

    event_id: str


class UnwantedChild(msgspec.Struct, frozen=True, gc=False):
    """A child that must be cancelled. ``is_awaited``: the parent may still wait for its end."""

    run_key: RunKey
    is_awaited: bool = False


Entry: TypeAlias = (
    StepMemo
    | PatchMemo
    | ReplyMemo
    | CancelMemo
    | ChildMemo
    | PublishedMemo
    | OrderedStep
    | OpenedWait
    | GatheringWait
    | AnsweredWait
    | RecordedTry
    | AbandonedWait
    | DroppedTimer
    | MetRequest
    | UnwantedChild
)


class Record(msgspec.Struct, gc=False):
    """Everything that a run has to write since the last flush. ``parent`` is notified of its end, and ``sequel`` begins
    with it; if the run ``is_keyed``, another run with its key may be waiting for that. ``shown_error`` is the encoded
    error that a run shows while it goes on, empty if it shows none any longer, ``None`` if that is as before.
    ``status_detail`` is what the workflow has set as its status, encoded, ``None`` if it has not."""

    run_id: str
    epoch: int
    parent: RunKey | None = None
    entries: list[Entry] = []
    is_keyed: bool = False
    is_cancelled: bool = False
    ending: Ending | None = None
    wants_inbox: bool = False
    shown_error: str | None = None
    status_detail: str | None = None
    sequel: Sequel | None = None

    @property
    def is_empty(self) -> bool:
        return self.ending is None and not self.entries and not self.wants_inbox and self.status_detail is None


EventKind = Literal[
    "event", "request", "cancel", "terminate", "pause", "resume", "reschedule", "retry", "child", "next"
]


class Event(msgspec.Struct, frozen=True, gc=False):
    """An entry in a run's inbox: an event or a request for its waits, the end of a child (whose id is the
    ``event_id``), or a request to the engine. ``payload`` is encoded: for a child it is a ``ChildEnd``, for a request
    to the engine the reason, text or null."""

    run_id: str
    event_id: str
    kind: EventKind
    name: str
    payload: str


class Wake(msgspec.Struct, frozen=True, gc=False):
    """What a claimed run finds when it resumes: which open waits are due, how long the others still take (in seconds;
    ``None``: no time limit), and its inbox, oldest first."""

    due: tuple[str, ...] = ()
    remaining: dict[str, float | None] = {}
    inbox: tuple[Event, ...] = ()

    def without(self, keys: Collection[str]) -> Wake:
        """Returns the same without the waits that have these keys."""
        due = tuple(key for key in self.due if key not in keys)
        remaining = {key: seconds for key, seconds in self.remaining.items() if key not in keys}
        return Wake(due, remaining, self.inbox)


class Written(msgspec.Struct, frozen=True, gc=False):
    """What happened to a record. If ``is_ours`` is false, nothing was stored, because the run no longer belongs to this
    worker, or because the database refuses the record (``is_refused``).

    ``wake_in`` is the time until a parked run wakes, in seconds. ``requeued`` means that an event was already there.
    ``inbox`` is ``None`` unless it was wanted. ``is_followed``: the run has ended, and something is to happen now.
    ``unsent`` names the events for which there was no run that could have read them.
    """

    is_ours: bool
    wake_in: float | None = None
    requeued: bool = False
    inbox: tuple[Event, ...] | None = None
    is_refused: bool = False
    is_followed: bool = False
    unsent: tuple[str, ...] = ()


class Comeback(msgspec.Struct, frozen=True):
    """A run that had been claimed before: its history (``None`` if its machine is resident) and what woke it."""

    history: History | None
    wake: Wake
