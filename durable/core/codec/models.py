"""Support for what msgspec does not handle: subclasses of builtins, ``object``, pydantic models.

pydantic is never imported here, because its values and types can only come from code that has already imported it.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, TypeGuard, get_args

import msgspec


def to_builtin(value: Any) -> Any:
    """Returns what is written in place of a value that msgspec rejects. Raises ``NotImplementedError`` for all
    others."""
    # For example numpy.float64 or a template's safe string. Rejecting them would throw away an effect that has already
    # happened.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int) and not isinstance(value, bool):  # a bool gets here only as a key: True would become "1"
        return int.__int__(value)
    if is_model(type(value)):
        model: Any = value  # after the isinstance checks above, type checkers can only guess
        return model.model_dump(mode="json", round_trip=True, by_alias=not _reads_names())
    raise NotImplementedError


def from_builtin(type: Any, value: Any) -> Any:
    """Does the inverse for a declared type. Raises ``NotImplementedError``, or what pydantic raises."""
    if type is object:
        return value
    if is_model(type):
        # As JSON, because in strict mode models read a datetime or a tuple from nothing else.
        return type.model_validate_json(msgspec.json.encode(value), **_by_name())
    raise NotImplementedError(f"nothing of type {type!r} can be read from JSON")


def is_model(type: Any) -> TypeGuard[Any]:
    """Returns whether the class is a pydantic model."""
    return hasattr(type, "__pydantic_validator__") and hasattr(type, "model_dump")


class AdapterDecoder:
    """Decodes a type that msgspec rejects and pydantic accepts, such as a union of models."""

    def __init__(self, type: Any) -> None:
        self._adapter = sys.modules["pydantic"].TypeAdapter(type)

    def decode(self, text: str) -> Any:
        return self._adapter.validate_json(text, **_by_name())


def mentions_model(type: Any) -> bool:
    """Returns whether a pydantic model occurs in the annotation."""
    return is_model(type) or any(mentions_model(argument) for argument in get_args(type))


def complaints(error: BaseException) -> str | None:
    """Returns what a pydantic model reports about a value, without the value itself, because this is logged. Returns
    ``None`` if the error does not come from pydantic."""
    if "pydantic" not in sys.modules:
        return None
    refused: Any = error if error.__cause__ is None else error.__cause__  # msgspec raises its own error from it
    if not isinstance(refused, sys.modules["pydantic"].ValidationError):
        return None
    found = refused.errors(include_url=False, include_context=False, include_input=False)
    listed = "; ".join(f"{'.'.join(map(str, one['loc'])) or '$'}: {one['msg']}" for one in found)
    _, at, path = str(error).rpartition(" - at `")
    place = at + path if at and refused is not error else ""
    return f"{len(found)} validation error{'s'[: len(found) > 1]} for {refused.title}: {listed}{place}"


@functools.cache
def _reads_names() -> bool:
    """Returns whether pydantic can be told to read fields by name, as it can from 2.11 on. Then a model whose two
    aliases differ can be read back as well."""
    major, minor = sys.modules["pydantic"].VERSION.split(".")[:2]
    return (int(major), int(minor)) >= (2, 11)


def _by_name() -> dict[str, bool]:
    return {"by_alias": True, "by_name": True} if _reads_names() else {}
