"""Finds what in a value cannot be stored. Slow, and only walked when something is wrong or might be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, overload

import msgspec

from durable.core.errors import SerializationError

_MAX_DEPTH = 200
_SUPPORTED = (
    "msgspec.Struct, dataclass, TypedDict, NamedTuple, dict, list, tuple, set, str, int, float, bool, None, bytes, "
    "datetime, date, time, timedelta, UUID, Decimal, Enum"
)


@overload
def find_culprit(value: object, what: str, reason: str) -> SerializationError: ...
@overload
def find_culprit(value: object, what: str, reason: None) -> SerializationError | None: ...
def find_culprit(value: object, what: str, reason: str | None) -> SerializationError | None:
    """The error that names the path to the first culprit. ``reason`` is what the encoder said, for culprits that the
    walk does not know; ``None``: it said nothing, and maybe nothing is wrong."""
    for path, complaint in _complaints(value, "$", 0):
        return SerializationError(what, path, complaint)
    return None if reason is None else SerializationError(what, "$", f"cannot be stored: {reason}")


def _complaints(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _MAX_DEPTH:
        yield path[:200], f"is nested more than {_MAX_DEPTH} levels deep"
        return
    found = value  # not narrowed to a container of unknown members, as `value` is below
    match value:
        case bool() | None | bytes():
            return
        case str():
            yield from _text(value, path)
        case float():
            if not math.isfinite(value):
                yield path, f"is {value}, which JSON cannot hold; use None or a string"
        case Mapping():
            for key, member in found.items():
                inner = f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{key!r}]"
                yield from _complaints(key, inner + " (the key)", depth + 1)
                yield from _complaints(member, inner, depth + 1)
        case list() | tuple():
            for index, member in enumerate(found):
                yield from _complaints(member, f"{path}[{index}]", depth + 1)
        case AbstractSet():
            for member in found:
                yield from _complaints(member, f"{path}{{{member!r}}}", depth + 1)
        case msgspec.Struct():
            for name in value.__struct_fields__:
                yield from _complaints(getattr(value, name), f"{path}.{name}", depth + 1)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            for field in dataclasses.fields(value):
                yield from _complaints(getattr(value, field.name), f"{path}.{field.name}", depth + 1)
        case _ if hasattr(value, "model_dump"):
            yield from _complaints(value.model_dump(), path, depth)
        case _:
            yield from _leaf(value, path)


def _text(value: str, path: str) -> Iterator[tuple[str, str]]:
    if "\0" in value:
        yield path, "contains NUL, which Postgres cannot hold; remove it or use bytes"
    try:
        value.encode()
    except UnicodeEncodeError:
        yield path, "contains a lone surrogate, which is not valid Unicode; decode it with errors='replace'"


def _leaf(value: Any, path: str) -> Iterator[tuple[str, str]]:
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        yield path, f"is a {kind}, which cannot be stored ({error}); supported are {_SUPPORTED}"
