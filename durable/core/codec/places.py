"""Where a value is stored, for codecs that bind what they write to its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from durable.core.codec.json_codec import Codec

PlaceKind: TypeAlias = Literal[
    "input", "input of a child", "input of a schedule", "output", "step", "arguments of a step", "event"
]


class Place(msgspec.Struct, frozen=True):
    """Where a value is stored. Its text never changes. A codec can authenticate it along with the value, so that
    what was written for one place cannot be passed off as written for another.

    ``owner`` is the id of the run. For the input of a child it is the id of the parent, because the child has none yet;
    for the input of a schedule, which all its runs share, it is the name of the workflow. ``name`` is the key of the
    step or the name of the event, and otherwise empty.
    """

    kind: PlaceKind
    owner: str
    name: str = ""

    def __str__(self) -> str:
        return msgspec.json.encode((self.kind, self.owner, self.name)).decode()


def codec_at(codec: Codec, kind: PlaceKind, owner: str, name: str = "") -> Codec:
    """Returns the codec for values of one place: what its ``bound_to`` returns, if it has that method."""
    bind: Callable[[Place], Codec] | None = getattr(codec, "bound_to", None)
    return codec if bind is None else bind(Place(kind, owner, name))
