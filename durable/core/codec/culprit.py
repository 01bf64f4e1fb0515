"""Finds the part of a value that cannot be stored. The walk is slow, so it is only made when something is wrong or
might be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from itertools import count
from typing import Any, NamedTuple, overload

import msgspec

from durable.core.codec.complaints import described
from durable.core.codec.differences import members_of
from durable.core.codec.hooks import Changed, check_back, dump, to_builtin
from durable.core.codec.models import is_model
from durable.core.codec.paths import name_of, shorten_path, step_to
from durable.core.errors import SerializationError

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


class _Dumped(NamedTuple):
    """A model, to be read back if nothing is wrong with the plain values that were made of it."""

    model: Any
    plain: Any


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
        found = "$", f"cannot be examined: {type(error).__name__}"
    if found is not None:
        return SerializationError(what, *found)
    return None if reason is None else SerializationError(what, "$", f"cannot be stored: {reason}")


def _walk(value: object) -> tuple[str, str] | None:
    # A stack instead of recursion: the value may be nested deeper than the interpreter allows, or contain itself.
    stack = [_Place(value)]
    while stack:
        place = stack.pop()
        if isinstance(place.value, _Dumped):
            try:
                check_back(*place.value)
            except Changed as change:
                return _place_of(change, place)
            continue
        if place.is_key:
            complaint = _complaint_about_key(place.value)
        else:
            try:
                plain = _stand_in(place.value)
                if is_model(type(place.value)):
                    stack.append(_Place(_Dumped(place.value, plain), "", place))
            except Changed as change:
                return _place_of(change, place)
            except Exception as error:
                return _path(place), f"is a {name_of(type(place.value))} that pydantic cannot dump: {_said(error)}"
            members = _members(plain, place)
            if members is not None and place.depth >= MAX_DEPTH:
                return _too_deep(place)
            if isinstance(plain, dict) and (complaint := _complaint_about_keys(plain)) is not None:
                return _path(place), complaint
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
    return dump(value) if is_model(type(value)) else value


def _members(value: Any, place: _Place) -> Iterable[_Place] | None:
    """Returns what is inside a container, or ``None`` for anything else."""
    depth = place.depth + 1
    found = value  # unlike `value`, not narrowed to a container of unknown members
    if isinstance(value, dict):
        return [
            _Place(inner, step_to(key), place, depth, is_key)
            for key, member in found.items()
            for inner, is_key in ((key, True), (member, False))
        ]
    if isinstance(value, (list, tuple, set, frozenset)):
        names: Any = getattr(found, "_fields", None)
        steps = (f".{name}" for name in names) if names else (f"[{index}]" for index in count())
        return [_Place(member, step, place, depth) for member, step in zip(found, steps, strict=False)]
    fields = members_of(value)
    if fields is None:
        return None
    return [_Place(member, f".{name}", place, depth) for name, member in fields if member is not msgspec.UNSET]


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


def _complaint_about_keys(value: Any) -> str | None:
    if set(map(type, value)) == {str}:
        return None
    with suppress(Exception):  # a key that cannot be written is named when it is its turn
        if len({msgspec.json.encode({key: None}, enc_hook=to_builtin) for key in value}) < len(value):
            return "has two keys that are the same text in JSON, so that one would be lost; use keys of one type"
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
    return shorten_path("".join(reversed(steps)))


def _place_of(change: Changed, place: _Place) -> tuple[str, str]:
    return shorten_path(_path(place) + change.path.removeprefix("$")), change.reason


def _said(error: Exception) -> str:
    # pydantic names the class that it cannot serialize. Any other text is a serializer's and may repeat the value.
    text = str(error)
    return text if text.startswith("Unable to serialize unknown type") else described(error)
