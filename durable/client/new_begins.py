"""A run about to be begun, and what its begin does if there is one with its key."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from durable.client.targets import KeyedEvent
from durable.core.generations import BeginGeneration, Bequest, IfActive, IfEnded
from durable.core.keyed_ids import keyed_run_id
from durable.core.runs import RunKey
from durable.store.ids import id_of_part
from durable.store.runs import NewRun


def is_plain(if_active: IfActive, if_ended: IfEnded, message: object) -> bool:
    """Returns whether one insert is all that such a begin takes."""
    return message is None and if_active == "join" and if_ended == "join"


class NewBegin(NewRun, frozen=True, kw_only=True):
    """A run about to be begun, and what happens if there is one with its key. ``message`` is the event or request that
    is sent to it. ``call_id`` is the same when the call is repeated; it is empty for a run that ``is_plain``.
    ``input_for`` encodes the input for a run with that id."""

    if_active: IfActive
    if_ended: IfEnded
    message: KeyedEvent | None
    input_for: Callable[[str], str]
    call_id: str

    @property
    def is_plain(self) -> bool:
        """Returns whether one insert is all that it takes."""
        return is_plain(self.if_active, self.if_ended, self.message)

    @property
    def repeatable(self) -> KeyedEvent | None:
        """The request, if it has a key of the application, so that another call may have made it before."""
        message = self.message
        if message is None or message.kind != "request" or message.key == message.event_id:
            return None
        return message

    @property
    def next_id(self) -> str:
        """The id of the entry by which the run that this one follows starts it."""
        return id_of_part(self.call_id, "next")

    @property
    def message_id(self) -> str:
        """The id of the entry by which the message goes to another run if it is not read."""
        return id_of_part(self.call_id, "message")

    @property
    def request_id(self) -> str:
        """The id of the request to end the run that this one follows."""
        return id_of_part(self.call_id, "request")

    def generation(self, begin: BeginGeneration) -> NewBegin:
        """Returns the same as a run of that generation of its key."""
        if self.key is None or begin.generation == 0:
            return self
        run_id = keyed_run_id(self.workflow_name, self.key, begin.generation)
        return msgspec.structs.replace(self, run_id=run_id, input=self.input_for(run_id))

    def bequest(self, run_key: RunKey, *, is_own: bool) -> str:
        """Returns what that run leaves if it ends without having read the message, encoded. ``is_own``: this call has
        begun it."""
        return Bequest(
            version=self.version,
            input=msgspec.Raw(self.input_for(run_key.run_id).encode()),
            at=self.at,
            delay=self.delay,
            timeout=self.timeout,
            is_own=is_own,
        ).text
