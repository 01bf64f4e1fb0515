"""Finds the part of a value that cannot be stored. The walk is slow, so it is only made when something is wrong or
might be."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from enum import Enum
from itertools import count
from typing import Any, NamedTuple, overload

import msgspec

from durable.core.codec.models import is_model, to_builtin
from durable.core.errors import SerializationError, shorten

MAX_DEPTH = 200

SUPPORTED = (
    "msgspec.Struct, dataclass, pydantic model, TypedDict, NamedTuple, dict, list, tuple, set, str, int, float, bool, "
    "None, bytes, datetime, date, time, timedelta, UUID, Decimal, Enum"
)
_KEYS = "str, int, float, bytes, datetime, date, time, timedelta, UUID, Decimal, Enum"


class _Place(NamedTuple):
    value: Any
    step: str = "$"
    parent: _Place | None = None
    depth: int = 0
    """How many containers enclose it."""
    is_key: bool = False


@overload
def find_culprit(value: object, what: str, reason: str) -> SerializationError: ...
@overload
def find_culprit(value: object, what: str, reason: None) -> SerializationError | None: ...
def find_culprit(value: object, what: str, reason: str | None) -> SerializationError | None:
    """Returns the error that names the path to the first culprit. ``reason`` is what the encoder reported, for culprits
    that the walk does not recognize; ``None`` means that it reported nothing, and that maybe nothing is wrong."""
    try:
        found = _walk(value)
    except Exception as error:  # a hostile object whose properties or __class__ raise
        found = "$", f"cannot be examined: {type(error).__name__}: {error}"
    if found is not None:
        return SerializationError(what, *found)
    return None if reason is None else SerializationError(what, "$", f"cannot be stored: {reason}")


def _walk(value: object) -> tuple[str, str] | None:
    # A stack instead of recursion: the value may be nested deeper than the interpreter allows, or contain itself.
    stack = [_Place(value)]
    while stack:
        place = stack.pop()
        if place.is_key:
            complaint = _complaint_about_key(place.value)
        else:
            try:
                plain = _stand_in(place.value)
            except Exception as error:
                return _path(place), f"is a {name_of(type(place.value))} that pydantic cannot dump: {error}"
            members = _members(plain, place)
            if members is not None and place.depth >= MAX_DEPTH:
                return _too_deep(place)
            if members is not None:
                stack.extend(reversed(list(members)))
                continue
            complaint = _complaint(plain)
        if complaint is not None:
            return _path(place), complaint
    return None


def _stand_in(value: Any) -> Any:
    while isinstance(value, Enum):
        value = value.value
    return to_builtin(value) if is_model(type(value)) else value


def _members(value: Any, place: _Place) -> Iterable[_Place] | None:
    """Returns what is inside a container, or ``None`` for anything else."""
    depth = place.depth + 1
    found = value  # unlike `value`, not narrowed to a container of unknown members
    if isinstance(value, dict):
        return [
            _Place(inner, _step(key), place, depth, is_key)
            for key, member in found.items()
            for inner, is_key in ((key, True), (member, False))
        ]
    if isinstance(value, (list, tuple, set, frozenset)):
        names: Any = getattr(found, "_fields", None)
        steps = (f".{name}" for name in names) if names else (f"[{index}]" for index in count())
        return [_Place(member, step, place, depth) for member, step in zip(found, steps, strict=False)]
    names = _field_names(value)
    if names is None:
        return None
    fields = ((name, getattr(value, name, msgspec.UNSET)) for name in names)
    return [_Place(member, f".{name}", place, depth) for name, member in fields if member is not msgspec.UNSET]


def _field_names(value: object) -> Iterable[str] | None:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in dataclasses.fields(value)]
    attributes: Any = getattr(type(value), "__attrs_attrs__", None)
    return None if attributes is None else [attribute.name for attribute in attributes]


def _complaint(value: Any) -> str | None:
    if isinstance(value, str):
        return _complaint_about_text(value)
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {float(value)}, which JSON cannot hold; use None or a string"
    try:
        msgspec.json.encode(value, enc_hook=to_builtin)
    except Exception as error:
        if isinstance(value, int):
            return f"is an int that cannot be written ({error}); store it as bytes"
        return f"is a {name_of(type(value))}, which cannot be stored; supported types: {SUPPORTED}"
    return None


def _complaint_about_key(key: Any) -> str | None:
    if isinstance(key, str):
        complaint = _complaint_about_text(key)
        return None if complaint is None else f"has a key that {complaint}"
    try:
        msgspec.json.encode({key: None})
    except Exception:
        return f"has a {name_of(type(key))} as its key; supported key types: {_KEYS}"
    return None


def _complaint_about_text(text: str) -> str | None:
    if "\0" in text:
        return "contains NUL, which Postgres cannot hold; remove it or use bytes"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains a lone surrogate, which is not valid Unicode; decode it with errors='replace' or use bytes"
    return None


def _too_deep(place: _Place) -> tuple[str, str]:
    chain: list[_Place] = []
    link: _Place | None = place
    while link is not None:
        chain.append(link)
        link = link.parent
    seen: set[int] = set()
    for link in reversed(chain):
        if id(link.value) in seen:
            return _path(link), "contains itself"
        seen.add(id(link.value))
    return _path(place), f"is nested more than {MAX_DEPTH} levels deep"


def _path(place: _Place) -> str:
    steps: list[str] = []
    link: _Place | None = place
    while link is not None:
        steps.append(link.step)
        link = link.parent
    path = "".join(reversed(steps))
    return path if len(path) <= 200 else f"{path[:120]}…{path[-79:]}"


def _step(key: Any) -> str:
    if not isinstance(key, str):
        return f"[{shorten(repr(key), 60)}]"
    return f".{key}" if key.isidentifier() else f"[{shorten(json.dumps(key), 60)}]"


def name_of(type: Any) -> str:
    """Returns the class with its module, as in ``socket.socket``, or without it for builtins."""
    return f"{type.__module__}.{type.__qualname__}".removeprefix("builtins.")
