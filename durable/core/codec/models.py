"""What msgspec does not know by itself: subclasses of builtins, ``object``, pydantic models.

pydantic is never imported from here: a value or a type of it can only come from code that has imported it.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, TypeGuard, get_args

import msgspec


def to_builtin(value: Any) -> Any:
    """What is written in the place of a value that msgspec refuses. Raises ``NotImplementedError`` for all others."""
    # Such as numpy.float64 or a template's safe string. To refuse them would throw away an effect that is done.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int) and not isinstance(value, bool):  # a bool only comes here as a key, True would read "1"
        return int.__int__(value)
    if is_model(type(value)):
        model: Any = value  # the isinstance checks above have left a type checker with guesses
        return model.model_dump(mode="json", round_trip=True, by_alias=not _reads_names())
    raise NotImplementedError


def from_builtin(type: Any, value: Any) -> Any:
    """The inverse for a declared type. Raises ``NotImplementedError`` or what pydantic raises."""
    if type is object:
        return value
    if is_model(type):
        # As JSON: models in strict mode read a datetime or a tuple from nothing else.
        return type.model_validate_json(msgspec.json.encode(value), **_by_name())
    raise NotImplementedError(f"nothing of type {type!r} can be read from JSON")


def is_model(type: Any) -> TypeGuard[Any]:
    """Whether the class is a pydantic model."""
    return hasattr(type, "__pydantic_validator__") and hasattr(type, "model_dump")


class AdapterDecoder:
    """Decodes a type that msgspec refuses and pydantic takes, such as a union of models."""

    def __init__(self, type: Any) -> None:
        self._adapter = sys.modules["pydantic"].TypeAdapter(type)

    def decode(self, text: str) -> Any:
        return self._adapter.validate_json(text, **_by_name())


def mentions_model(type: Any) -> bool:
    """Whether a pydantic model occurs in the annotation."""
    return is_model(type) or any(mentions_model(argument) for argument in get_args(type))


def complaints(error: BaseException) -> str | None:
    """What a pydantic model says of a value, without the value: this is logged. ``None`` if it is not at fault."""
    if "pydantic" not in sys.modules:
        return None
    refused: Any = error if error.__cause__ is None else error.__cause__  # msgspec raises an error of its own from it
    if not isinstance(refused, sys.modules["pydantic"].ValidationError):
        return None
    found = refused.errors(include_url=False, include_context=False, include_input=False)
    listed = "; ".join(f"{'.'.join(map(str, one['loc'])) or '$'}: {one['msg']}" for one in found)
    _, at, path = str(error).rpartition(" - at `")
    place = at + path if at and refused is not error else ""
    return f"{len(found)} validation error{'s'[: len(found) > 1]} for {refused.title}: {listed}{place}"


@functools.cache
def _reads_names() -> bool:
    """From 2.11 on pydantic can be told to read fields by name, so a model whose two aliases differ comes back too."""
    major, minor = sys.modules["pydantic"].VERSION.split(".")[:2]
    return (int(major), int(minor)) >= (2, 11)


def _by_name() -> dict[str, bool]:
    return {"by_alias": True, "by_name": True} if _reads_names() else {}
