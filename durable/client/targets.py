"""How the calls of a client name a run: by its run key, or by its workflow and the key it was begun with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import codec_at
from durable.core.errors import InvalidArgument
from durable.core.keys import check_key
from durable.core.replay.workflow import Workflow
from durable.core.run_arguments import check_run_key, storable_payload
from durable.core.runs import RunKey
from durable.store.events import NewEvent
from durable.store.ids import keyed_run_id, uuid7

RunTarget: TypeAlias = RunKey | str | tuple[Workflow[Any, Any] | str, str]
"""A run: its ``RunKey`` or the text of it, or the workflow (or its name) together with the key with which it was begun.
Of several runs with the same workflow and key, the newest one is meant."""


MessageKind: TypeAlias = Literal["event", "request"]
"""What an application can send to the code of a run."""


class Keyed(msgspec.Struct, frozen=True):
    """The newest run with that workflow and key."""

    workflow_name: str
    key: str

    def __str__(self) -> str:
        return f"of workflow {self.workflow_name!r} with key {self.key!r}"

    @property
    def first_id(self) -> str:
        """The id of the first run with that key, whose shard value all of them have."""
        return keyed_run_id(self.workflow_name, self.key)


class KeyedEvent(NewEvent, frozen=True, kw_only=True):
    """An event or a request whose run is not known yet, nor the payload, which may depend on the run's id."""

    target: Keyed
    encoded_for: Callable[[str], str]

    def sent_to(self, run_key: RunKey) -> NewEvent:
        """Returns the same for that run."""
        return NewEvent(run_key, self.event_id, self.name, self.encoded_for(run_key.run_id), self.key, self.kind)


def check_target(argument: str, run: RunTarget | Keyed) -> RunKey | Keyed:
    """Returns what names the run, checked. Raises ``InvalidArgument``."""
    if isinstance(run, Keyed):
        return run
    if not isinstance(run, tuple):
        return check_run_key(argument, run)
    if len(run) != 2:
        raise InvalidArgument(argument, run, "a run key, or a workflow and a key: (workflow, key)")
    workflow, key = run
    name = workflow.name if isinstance(workflow, Workflow) else workflow
    return Keyed(check_key(argument, name), check_key(argument, key))


def workflow_of(run: RunTarget | Keyed) -> Workflow[Any, Any] | None:
    """Returns the workflow by which the run is named, if it is."""
    return run[0] if isinstance(run, tuple) and isinstance(run[0], Workflow) else None


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
    name: str,
    payload: object,
    key: str | None,
    kind: MessageKind = "event",
) -> KeyedEvent:
    """Checks all arguments. ``run_id`` is what the payload is encoded for until the run is known. A request always has
    a key, by which it can be found again. Raises ``InvalidArgument`` or ``SerializationError``."""
    name = check_key("name", name)
    what = f"the payload of {kind} {name!r}"

    def encoded_for(owner: str) -> str:
        return storable_payload(codec_at(codec, kind, owner, name).encode(payload, what), what)

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
