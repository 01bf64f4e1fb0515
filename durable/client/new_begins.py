"""A run about to be begun, and what its begin does if there is one with its key."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from durable.client.targets import KeyedEvent
from durable.core.generations import Begin, Bequest, IfActive, IfEnded
from durable.core.runs import RunKey
from durable.store.ids import keyed_run_id
from durable.store.runs import NewRun


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
