"""What msgspec is told about values that it does not handle: subclasses of builtins, ``object``, pydantic models."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from durable.core.codec.complaints import Unreadable, described
from durable.core.codec.differences import find_difference
from durable.core.codec.model_types import examine_model
from durable.core.codec.models import by_name, is_model, reads_names


class Changed(Exception):
    """A model that would not come back equal. ``path`` leads to what would change, and ``reason`` says how."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


def to_builtin(value: Any) -> Any:
    """Returns what is written in place of a value that msgspec rejects. Raises ``Changed`` for a model that would not
    come back equal, what pydantic raises, and ``NotImplementedError`` for all other values."""
    # For example numpy.float64 or a template's safe string. Rejecting them would throw away an effect that has already
    # happened.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int) and not isinstance(value, bool):  # a bool gets here only as a key: True would become "1"
        return int.__int__(value)
    if is_model(type(value)):
        plain = dump(value)
        check_back(value, plain)
        return plain
    raise NotImplementedError  # how msgspec's hook says that the type is not supported


def from_builtin(type: Any, value: Any) -> Any:
    """Does the inverse for a declared type. Raises ``Unreadable``, or what pydantic raises."""
    if type is object:
        return value
    if is_model(type):
        # As JSON, because in strict mode models read a datetime or a tuple from nothing else.
        return type.model_validate_json(msgspec.json.encode(value), **by_name())
    raise Unreadable(f"nothing of type {type!r} can be read from JSON")


def dump(model: Any) -> Any:
    """Returns a model as plain values. Raises ``Changed`` if its class says that a part of it is always lost, and what
    pydantic raises."""
    loss = examine_model(model.__class__).loss
    if loss is not None:
        raise Changed(*loss)
    return model.model_dump(mode="json", round_trip=True, by_alias=not reads_names())


def check_back(model: Any, plain: Any) -> None:
    """Raises ``Changed`` if pydantic would read something else from the plain values. Most classes rule that out, and
    nothing is read."""
    examined = examine_model(model.__class__)
    if not examined.needs_comparison:
        return
    try:
        back = from_builtin(type(model), plain)
    except Exception as error:
        raise Changed("$", f"could not be read back: {described(error, examined.names)}") from None
    difference = find_difference(model, back)
    if difference is not None:
        raise Changed(*difference)


class AdapterDecoder:
    """Decodes a type that msgspec rejects and pydantic accepts, such as a union of models."""

    def __init__(self, type: Any) -> None:
        self._adapter = sys.modules["pydantic"].TypeAdapter(type)

    def decode(self, text: str) -> Any:
        return self._adapter.validate_json(text, **by_name())
