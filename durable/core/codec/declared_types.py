"""Judges a declared type before any value of it exists: can its values be read back, and do they come back equal?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import inspect

from durable.core.codec.culprit import SUPPORTED
from durable.core.codec.model_types import examine
from durable.core.codec.models import is_model
from durable.core.codec.paths import name_of

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
_NUMBER_KEYS = (inspect.IntType, inspect.FloatType, inspect.NoneType)
_HASHED_AS_NUMBERS = (inspect.IntType, inspect.FloatType, inspect.DecimalType, inspect.UUIDType)
_RECORDS = (inspect.StructType, inspect.DataclassType)
_HOOKS = ("__post_init__", "__attrs_post_init__")


class Judgment(msgspec.Struct, frozen=True, kw_only=True):
    """What the type alone says about its values.

    ``complaint`` is the path to something that can never be stored, and the reason; ``loss`` is the same for something
    of which a part is always lost. ``is_certain``: every value comes back equal, as long as none of ``records`` has a
    subclass; otherwise only a comparison can tell. ``hashes_numbers``: values contain sets or dicts of numbers, whose
    hashes an attacker can choose. ``names`` are those of the fields.
    """

    complaint: tuple[str, str] | None
    loss: tuple[str, str] | None
    is_certain: bool = True
    records: tuple[type, ...] = ()
    hashes_numbers: bool = False
    names: frozenset[str] = frozenset()

    @property
    def needs_comparison(self) -> bool:
        """Whether a value may come back different."""
        return not self.is_certain or (bool(self.records) and any(record.__subclasses__() for record in self.records))


def judge(type: Any, *, by_pydantic: bool) -> Judgment:
    """Judges the type. In paths, ``[]`` stands for the members of a list and ``[…]`` for those of a dict.
    ``by_pydantic`` says that pydantic reads it instead of msgspec. Raises whatever either raises for a type that it
    rejects."""
    walk = _Walk()
    if by_pydantic:
        walk.examine_model("$", type)
    else:
        walk.walk(inspect.type_info(type))
    return Judgment(
        complaint=walk.complaint,
        loss=walk.loss,
        is_certain=walk.is_certain,
        records=tuple(dict.fromkeys(walk.records)),
        hashes_numbers=walk.hashes_numbers,
        names=frozenset(walk.names),
    )


class _Walk:
    def __init__(self) -> None:
        self.complaint: tuple[str, str] | None = None
        self.loss: tuple[str, str] | None = None
        self.is_certain = True
        self.hashes_numbers = False
        self.records: list[type] = []
        self.names: set[str] = set()

    def walk(self, whole: inspect.Type) -> None:
        seen: set[int] = set()  # a type may contain itself
        stack: list[tuple[str, inspect.Type]] = [("$", whole)]
        while stack and self.complaint is None:
            path, info = stack.pop()
            if id(info) in seen:
                continue
            seen.add(id(info))
            self._look_at(path, info)
            stack.extend(reversed([(path + step, member) for step, member in _members(info)]))

    def examine_model(self, path: str, type: Any) -> None:
        found = examine(type)
        if found.loss is not None:
            self.loss = path + found.loss[0].removeprefix("$"), found.loss[1]
        self.is_certain = self.is_certain and found.is_certain
        self.hashes_numbers = self.hashes_numbers or found.hashes_numbers
        self.records += found.models
        self.names |= found.names

    def _look_at(self, path: str, info: inspect.Type) -> None:
        match info:
            case inspect.CustomType(cls=cls):
                if is_model(cls):
                    self.examine_model(path, cls)
                elif cls is not object:
                    self.complaint = (
                        path,
                        f"is declared as {name_of(cls)}, which cannot be stored; supported types: {SUPPORTED}",
                    )
            case inspect.DictType():
                keys = _kinds(info.key_type)
                self.hashes_numbers = self.hashes_numbers or any(isinstance(key, _HASHED_AS_NUMBERS) for key in keys)
                refused = _complaint_about_keys(info.key_type, keys)
                if refused is not None:
                    self.complaint = path, refused
            case inspect.SetType() | inspect.FrozenSetType():
                self.hashes_numbers = self.hashes_numbers or not all(
                    isinstance(kind, (inspect.StrType, inspect.BytesType, inspect.EnumType, inspect.LiteralType))
                    for kind in _kinds(info.item_type)
                )
            case inspect.StructType() | inspect.DataclassType():
                self.records.append(info.cls)
                self.is_certain = self.is_certain and not _has_code_of_its_own(info.cls)
                self._name(info)
            case inspect.TypedDictType() | inspect.NamedTupleType():
                self._name(info)
            case _:
                pass

    def _name(
        self, info: inspect.StructType | inspect.DataclassType | inspect.TypedDictType | inspect.NamedTupleType
    ) -> None:
        self.names.update(field.encode_name for field in info.fields)


def _complaint_about_keys(declared: inspect.Type, keys: list[inspect.Type]) -> str | None:
    never = next((key for key in keys if isinstance(key, _NEVER_KEYS)), None)
    if never is not None and (len(keys) == 1 or not isinstance(never, inspect.NoneType)):
        return f"is declared as a dict whose keys are {_kind(never)}, which JSON cannot hold"
    if isinstance(declared, inspect.LiteralType) and len({type(value) for value in declared.values}) > 1:
        keys = [*keys, *keys]
    if len(keys) > 1 and not all(isinstance(key, _NUMBER_KEYS) for key in keys):
        kinds = " or ".join(dict.fromkeys(map(_kind, keys)))
        return (
            f"is declared as a dict whose keys are {kinds}: all keys are text in JSON, so that one could come back as "
            "another; declare one type of keys"
        )
    return None


def _kinds(info: inspect.Type) -> list[inspect.Type]:
    """Returns the members of a union, or the type itself."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    return [kind for member in info.types for kind in _kinds(member)] if isinstance(info, inspect.UnionType) else [info]


def _has_code_of_its_own(record: type) -> bool:
    if any(hasattr(record, hook) for hook in _HOOKS):
        return True
    attributes: Any = getattr(record, "__attrs_attrs__", ())
    return any(attribute.converter is not None for attribute in attributes)


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
