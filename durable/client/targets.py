"""What the calls of a client need of a run that may be named by its workflow and key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import codec_at
from durable.core.events import Event, encoded_payload, name_of
from durable.core.keys import check_key
from durable.core.replay.targets import Keyed, RunTarget, workflow_of
from durable.core.replay.workflow import Workflow
from durable.core.runs import RunKey
from durable.store.events import NewEvent
from durable.store.ids import uuid7

MessageKind: TypeAlias = Literal["event", "request"]
"""What an application can send to the code of a run."""


class KeyedEvent(NewEvent, frozen=True, kw_only=True):
    """An event or a request whose run is not known yet, nor the payload, which may depend on the run's id."""

    target: Keyed
    encoded_for: Callable[[str], str]

    def sent_to(self, run_key: RunKey) -> NewEvent:
        """Returns the same for that run."""
        return NewEvent(run_key, self.event_id, self.name, self.encoded_for(run_key.run_id), self.key, self.kind)


def codec_of(run: RunTarget | Keyed) -> Codec | None:
    """Returns the codec of the workflow by which the run is named, if it is and has one."""
    wf = workflow_of(run)
    return None if wf is None else wf.codec


def declared_output(run: RunTarget, wf_or_type: Any) -> tuple[Any, Codec | None]:
    """Returns the type of the run's output and the codec of its workflow, as far as the caller has named them: the type
    that was given, or the workflow that was given for it or names the run."""
    is_workflow = isinstance(wf_or_type, Workflow)
    if is_workflow:
        return wf_or_type.output_type, wf_or_type.codec
    wf = workflow_of(run)
    if wf is None:
        return wf_or_type, None
    return wf.output_type if wf_or_type is Any else wf_or_type, wf.codec


def keyed_event(
    codec: Codec,
    target: Keyed,
    run_id: str,
    event: str | Event[Any],
    payload: object,
    key: str | None,
    kind: MessageKind = "event",
) -> KeyedEvent:
    """Checks all arguments. ``run_id`` is what the payload is encoded for until the run is known. A request always has
    a key, by which it can be found again. Raises ``InvalidArgument`` or ``SerializationError``."""
    name = name_of("name", event)
    what = f"the payload of {kind} {name!r}"

    def encoded_for(owner: str) -> str:
        return encoded_payload(codec_at(codec, kind, owner, name), event, payload, what)

    encoded, event_id = encoded_for(run_id), str(uuid7())
    if key is not None:
        key = check_key("key", key)
    return KeyedEvent(
        run_key=RunKey(f"{target.workflow_name}_0", run_id),
        event_id=event_id,
        name=name,
        payload=encoded,
        key=event_id if key is None and kind == "request" else key,
        kind=kind,
        target=target,
        encoded_for=lambda owner: encoded if owner == run_id else encoded_for(owner),
    )
