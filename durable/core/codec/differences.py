"""Finds what is lost of a value that went out and came back. The walk is slow, so it is made only if the declared type
does not rule a loss out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from durable.core.codec.model_types import examine_model, secret_name
from durable.core.codec.models import is_model
from durable.core.codec.paths import name_of, shorten_path, step_to

_COLLECTIONS = (list, tuple, set, frozenset, dict)


def find_difference(value: object, back: object) -> tuple[str, str] | None:
    """Returns the path to the first thing that is not the same in ``back``, and what became of it.

    What JSON holds in another form is the same here: a tuple or set that came back as a list, and whatever came back as
    plain JSON because its type was not declared.
    """
    stack: list[tuple[str, Any, Any]] = [("$", value, back)]
    while stack:
        path, one, other = stack.pop()
        if one is other:
            continue
        lost = _lost(one, other)
        if lost is not None:
            return shorten_path(path + lost[0]), lost[1]
        stack.extend(reversed([(path + step, *pair) for step, *pair in _pairs(one, other)]))
    return None


def members_of(record: object) -> Iterable[tuple[str, Any]] | None:
    """Returns the fields of a Struct, a dataclass, an attrs object or a model; ``None`` for anything else."""
    kind: type[object] = type(record)
    found: Any = record  # not narrowed by the checks below
    if is_model(kind):
        parts: list[Mapping[str, Any] | None] = [vars(found), found.__pydantic_extra__, found.__pydantic_private__]
        return [item for part in parts if part for item in part.items()]
    names: Iterable[str]
    if isinstance(record, msgspec.Struct):
        names = record.__struct_fields__
    elif dataclasses.is_dataclass(record) and not isinstance(record, type):
        names = [field.name for field in dataclasses.fields(record)]
    else:
        attributes: Any = getattr(kind, "__attrs_attrs__", None)
        if attributes is None:
            return None
        names = [attribute.name for attribute in attributes]
    return [(name, getattr(found, name, msgspec.UNSET)) for name in names]


def _lost(one: Any, other: Any) -> tuple[str, str] | None:
    """Returns what is lost of the value itself, whatever becomes of its members, and the rest of the path to it."""
    kind: Any = one.__class__
    if is_model(kind) and (loss := examine_model(kind).loss) is not None:
        return loss[0].removeprefix("$"), loss[1]
    if kind is not type(other):
        if "pydantic" in sys.modules and secret_name(kind) is not None:
            return "", f"is a {secret_name(kind)}, of which pydantic writes only asterisks"
        if members_of(one) is not None and members_of(other) is not None:
            return "", f"is a {name_of(kind)}, but would come back as a {name_of(type(other))}"
        return None
    if isinstance(one, _COLLECTIONS):
        size, left = _size(one), _size(other)
        return None if size == left else ("", f"has {size} members, of which only {left} would come back")
    # If its class does not say what equal means, there is no telling: a connection that a model keeps for itself.
    if members_of(one) is not None or _has_no_equality(kind) or one == other:
        return None
    return "", f"is a {name_of(kind)} that would come back with another value"


def _size(collection: Any) -> int:
    return len(collection)


def _has_no_equality(kind: Any) -> bool:
    return kind.__eq__ is object.__eq__


def _pairs(one: Any, other: Any) -> Iterable[tuple[str, Any, Any]]:
    if type(one) is not type(other):
        return []
    found: Any = one  # not narrowed by the checks below
    if isinstance(one, dict):
        return [(step_to(key), member, back) for (key, member), back in zip(found.items(), other.values(), strict=True)]
    if isinstance(one, (list, tuple)):
        return [(f"[{index}]", *pair) for index, pair in enumerate(zip(found, other, strict=True))]
    fields = members_of(found)
    if fields is None:
        return []
    others = dict(members_of(other) or ())
    return [(f".{name}", member, others.get(name, msgspec.UNSET)) for name, member in fields]
