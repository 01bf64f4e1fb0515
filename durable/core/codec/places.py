"""Where a value is stored, for codecs that bind what they write to its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.errors import DeserializationError, SerializationError

PlaceKind: TypeAlias = Literal[
    "input",
    "input of a child",
    "input of a schedule",
    "output",
    "step",
    "arguments of a step",
    "event",
    "request",
    "reply",
    "status",
]


class Place(msgspec.Struct, frozen=True):
    """Where a value is stored. Its text never changes. A codec can authenticate it along with the value, so that
    what was written for one place cannot be passed off as written for another.

    ``owner`` is the id of the run. For the input of a child it is the id of the parent, because the child has none yet;
    for the input of a schedule, which all its runs share, it is the name of the workflow. ``name`` is the key of the
    step, the name of the event or of the request, or for a reply the id of the request, and otherwise empty.
    """

    kind: PlaceKind
    owner: str
    name: str = ""

    def __str__(self) -> str:
        return msgspec.json.encode((self.kind, self.owner, self.name)).decode()


def place_of_input(
    workflow_name: str, run_id: str, parent_run_id: str | None, *, is_scheduled: bool, has_continued: bool
) -> Place:
    """Returns where the input of a run was stored when the run began, or when it continued as new."""
    if has_continued:
        return Place("input", run_id)
    if is_scheduled:
        return Place("input of a schedule", workflow_name)
    if parent_run_id is not None:
        return Place("input of a child", parent_run_id)
    return Place("input", run_id)


def codec_at(codec: Codec, kind: PlaceKind, owner: str, name: str = "") -> Codec:
    """Returns the codec for values of one place: what its ``bound_to`` returns, if it has that method."""
    bind: Callable[[Place], Codec] | None = getattr(codec, "bound_to", None)
    return codec if bind is None else bind(Place(kind, owner, name))


def decode_at(
    codec: Codec, kind: PlaceKind, owner: str, name: str, text: str, declared: Any, what: Callable[[], str]
) -> Any:
    """Decodes a value of one place as its declared type. ``what`` returns its name in messages, and is called only if
    it is needed: to make the name often takes longer than to decode the value."""
    if type(codec) is not JsonCodec:
        return codec_at(codec, kind, owner, name).decode(text, declared, what())
    try:
        return codec.decode(text, declared, "")
    except DeserializationError as error:
        raise DeserializationError(what(), error.reason) from error.__cause__


def is_bound(codec: Codec) -> bool:
    """Returns whether what the codec writes can be read at its place only."""
    return hasattr(codec, "bound_to")


def moved(codec: Codec, kind: PlaceKind, name: str, owner: str, new_owner: str, text: str) -> str:
    """Returns what was encoded for a place of one run, encoded for the same place of another run; unchanged if it
    cannot be read, so that the error is raised where it is read."""
    what = f"what moves to run {new_owner}"
    try:
        value = codec_at(codec, kind, owner, name).decode(text, Any, what)
        return codec_at(codec, kind, new_owner, name).encode(value, what)
    except (DeserializationError, SerializationError):
        return text
