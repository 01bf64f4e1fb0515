"""Events with a declared payload, as both sides share them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.errors import DeserializationError, InvalidArgument, SerializationError
from durable.core.keys import check_key
from durable.core.run_arguments import storable_payload

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # only for type checkers, which bring it along

T = TypeVar("T")


class Event(Generic[T]):
    """An event together with the type of its payload: ``paid = Event("paid", Payment)``. It can be given wherever the
    name of an event is. Type checkers check the payload then, and so does whoever publishes it before anything is
    stored; a wait needs no other type. Without a type, any payload is accepted."""

    __slots__ = ("name", "type")

    name: str
    type: Any

    @overload
    def __init__(self: Event[Any], name: str) -> None: ...
    @overload
    def __init__(self, name: str, type: TypeForm[T]) -> None: ...
    def __init__(self, name: str, type: Any = Any) -> None:
        object.__setattr__(self, "name", check_key("name", name))
        object.__setattr__(self, "type", type)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an Event cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("an Event cannot be changed")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self.name == other.name and self.type == other.type

    def __hash__(self) -> int:
        return hash(self.name)  # not every type can be hashed

    def __repr__(self) -> str:
        return f"Event({self.name!r}, {self.type!r})"


def name_of(argument: str, event: str | Event[Any]) -> str:
    """Returns the name of the event. Raises ``InvalidArgument`` if it can have none."""
    return event.name if isinstance(event, Event) else check_key(argument, event)


def type_of(event: str | Event[Any], type: Any) -> Any:
    """Returns the type of the payload for a wait that may have been given one. Raises ``InvalidArgument``."""
    if not isinstance(event, Event):
        return type
    if type is not Any:
        raise InvalidArgument("type", type, "not given together with an Event, which says what its payload is")
    return event.type


def encoded_payload(codec: Codec, event: str | Event[Any], payload: object, what: str) -> str:
    """Encodes a payload. Raises ``SerializationError`` if it cannot be stored, or if it does not fit the type that the
    event declares, or would come back from there different."""
    text = storable_payload(codec.encode(payload, what), what)
    declared = event.type if isinstance(event, Event) else Any
    if declared is Any:
        return text
    codec.check_type(declared, what)
    try:
        back = codec.decode(text, declared, what)
    except DeserializationError as error:
        raise SerializationError(what, "$", f"does not fit the type that the event declares: {error.reason}") from None
    if isinstance(codec, JsonCodec):
        codec.check_unchanged(payload, back, declared, what)
    return text
