"""What a begin is asked for: its options, and the run that they describe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TypedDict

import msgspec

from durable.client.targets import KeyedEvent
from durable.core.generations import Begin, Bequest, IfActive, IfEnded
from durable.core.runs import RunKey
from durable.store.ids import keyed_run_id
from durable.store.runs import NewRun


class BeginOptions(TypedDict, total=False):
    """The keywords of ``begin`` and ``begin_tx``."""

    key: str | None
    """Names the runs that are begun with the same workflow and key, of which at most one executes at a time. What a
    call does if there is one already is said by ``if_active`` and ``if_ended``. Unless these are given, the call is
    idempotent for as long as the first run is kept: it always gives that run, whatever the other arguments are.
    ``None``, or not given: each call begins a run."""
    if_active: IfActive
    """What the call does if the newest run with the key has not ended. ``"join"``, or not given: it gives that run.
    ``"refuse"``: it raises ``RunExists``. ``"cancel"`` and ``"terminate"``: it requests that of the run and begins
    another one, which starts when that one has ended, clean-up included."""
    if_ended: IfEnded
    """What the call does if the newest run with the key has ended. ``"join"``, or not given: it gives that run, and
    with it the result. ``"begin_anew"``: it begins another one."""
    event: tuple[str, object] | None
    """The name and payload of an event that is published to the run, whether the call begins it or joins it. With a
    key, ``if_ended`` must be ``"begin_anew"``: the event is then never lost. If a run that was joined ends without
    reading it, another run begins with this call's input, that run's tags and priority, and the unread events."""
    delay: timedelta | float | None
    """The run starts this many seconds from now at the earliest, by the database's clock. Cannot be combined with
    ``at``."""
    at: datetime | None
    """The earliest time at which the run starts; an aware datetime. Cannot be combined with ``delay``. If neither is
    given, the run may start at once."""
    priority: int
    """Runs with a higher priority start first; from -32768 to 32767, 0 if not given."""
    tags: Mapping[str, str] | None
    """At most 64 names and values by which people can find the run."""


class NewBegin(NewRun, frozen=True, kw_only=True):
    """A run about to be begun, and what happens if there is one with its key. The ids are those of this call, which
    may be repeated. ``input_for`` encodes the input for a run with that id."""

    if_active: IfActive
    if_ended: IfEnded
    event: KeyedEvent | None
    input_for: Callable[[str], str]
    begin_id: str
    next_id: str
    message_id: str
    request_id: str

    @property
    def is_plain(self) -> bool:
        """Returns whether one insert is all that it takes."""
        return self.event is None and (self.if_active, self.if_ended) == ("join", "join")

    def generation(self, begin: Begin) -> NewBegin:
        """Returns the same as a run of that generation of its key."""
        if self.key is None or begin.generation == 0:
            return self
        run_id = keyed_run_id(self.workflow_name, self.key, begin.generation)
        return msgspec.structs.replace(self, run_id=run_id, input=self.input_for(run_id))

    def bequest(self, run_key: RunKey, *, is_own: bool) -> str:
        """Returns what that run leaves if it ends without having read the event, encoded. ``is_own``: this call has
        begun it."""
        return Bequest(
            version=self.version,
            input=msgspec.Raw(self.input_for(run_key.run_id).encode()),
            at=self.at,
            delay=self.delay,
            timeout=self.timeout,
            is_own=is_own,
        ).text
