"""Judges a declared type before any value of it exists: can a value of this type ever be read back?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import inspect

from durable.core.codec.culprit import SUPPORTED, name_of
from durable.core.codec.models import is_model

_NEVER_KEYS = (
    inspect.BoolType,
    inspect.NoneType,
    inspect.CollectionType,
    inspect.TupleType,
    inspect.NamedTupleType,
    inspect.DictType,
    inspect.StructType,
    inspect.DataclassType,
    inspect.TypedDictType,
)


def find_unstorable(type: Any) -> tuple[str, str] | None:
    """Returns the path within the type to something that can never be stored, and the reason, or ``None`` if the type
    is sound. In the path, ``[]`` stands for the members of a list and ``[…]`` for those of a dict. Raises whatever
    msgspec raises for a type that it rejects."""
    seen: set[int] = set()  # a type may contain itself
    stack: list[tuple[str, inspect.Type]] = [("$", inspect.type_info(type))]
    while stack:
        path, info = stack.pop()
        if isinstance(info, inspect.CustomType):
            if info.cls is not object and not is_model(info.cls):
                return path, f"is declared as {name_of(info.cls)}, which cannot be stored; supported types: {SUPPORTED}"
        elif isinstance(info, inspect.DictType) and isinstance(info.key_type, _NEVER_KEYS):
            return path, f"is declared as a dict whose keys are {_kind(info.key_type)}, which JSON cannot hold"
        elif id(info) not in seen:
            seen.add(id(info))
            stack.extend(reversed([(path + step, member) for step, member in _members(info)]))
    return None


def _members(info: inspect.Type) -> Iterable[tuple[str, inspect.Type]]:
    match info:
        case inspect.UnionType():
            return [("", member) for member in info.types]
        case inspect.Metadata():
            return [("", info.type)]
        case inspect.CollectionType():
            return [("[]", info.item_type)]
        case inspect.TupleType():
            return [(f"[{index}]", member) for index, member in enumerate(info.item_types)]
        case inspect.DictType():
            return [(" (the key)", info.key_type), ("[…]", info.value_type)]
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType() | inspect.NamedTupleType():
            return [(f".{field.name}", field.type) for field in info.fields]
        case _:
            return []


def _kind(info: inspect.Type) -> str:
    declared = getattr(info, "cls", None)
    return type(info).__name__.removesuffix("Type").lower() if declared is None else name_of(declared)
