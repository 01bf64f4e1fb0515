"""Judges what pydantic does to the values of a type: some it always changes, others it may change."""

from __future__ import annotations

import dataclasses
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints, is_typeddict
from uuid import UUID

import msgspec

from durable.core.codec.models import is_model, reads_names

_PLAIN = (str, int, float, bool, bytes, datetime, date, time, timedelta, Decimal, UUID)
_CONTAINERS = (list, tuple, dict, set, frozenset)
_RESTRICTING = ("FieldInfo", "Discriminator", "Strict", "PydanticGeneralMetadata")
_HIDDEN = (
    "is a {}, of which pydantic writes only asterisks; give the field a serializer that writes it, or pass a reference"
)
_EXCLUDED = "is declared with exclude=True, so that pydantic leaves it out; store it elsewhere and pass a reference"


class Examined(msgspec.Struct):
    """``loss`` is the path to something that never comes back, and the reason. ``is_certain``: every value comes back
    equal, as long as none of ``models`` has a subclass. The others are those of ``Judgment``."""

    loss: tuple[str, str] | None = None
    is_certain: bool = True
    models: list[type] = []
    hashes_numbers: bool = False
    names: set[str] = set()

    @property
    def needs_comparison(self) -> bool:
        return not self.is_certain or any(model.__subclasses__() for model in self.models)


def examine(whole: Any) -> Examined:
    """Examines a model, or another type that pydantic reads. Raises ``NameError`` for a model that mentions a class
    which is not defined yet."""
    found = Examined()
    seen: set[Any] = set()
    stack: list[tuple[str, Any]] = [("$", whole)]
    while stack and found.loss is None:
        path, declared = stack.pop()
        if is_model(declared) or dataclasses.is_dataclass(declared):
            if declared in seen:
                continue
            seen.add(declared)
        stack.extend(reversed(_look_at(found, path, declared)))
    return found


@lru_cache(4096)  # classes may be created at run time, without limit
def examine_model(model: type) -> Examined:
    """Does the same once for each model."""
    return examine(model)


def secret_name(declared: Any) -> str | None:
    """Returns the name of a class whose values pydantic hides, ``None`` for any other class."""
    pydantic = sys.modules["pydantic"]
    hidden = (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret)
    return declared.__name__ if isinstance(declared, type) and issubclass(declared, hidden) else None


def _look_at(found: Examined, path: str, declared: Any) -> list[tuple[str, Any]]:
    """Notes what is to be said about the type itself, and returns what is inside it."""
    origin = get_origin(declared)
    if origin is Annotated:
        inner, *metadata = get_args(declared)
        if not all(map(_only_restricts, metadata)):
            found.is_certain = False
            return []
        return [(path, inner)]
    if is_model(declared):
        return _look_at_model(found, path, declared)
    secret = secret_name(origin or declared)
    if secret is not None:
        found.loss = path, _HIDDEN.format(secret)
        return []
    if origin is Literal or declared is None or declared is type(None):
        return []
    if isinstance(declared, TypeVar):
        return [(path, declared.__bound__)] if declared.__bound__ is not None else _unknown(found)
    if origin is not None or declared in _CONTAINERS:
        container = origin or declared
        arguments = [argument for argument in get_args(declared) if argument is not ...]
        if container in (set, frozenset, dict):
            hashed = arguments[:1] or [Any]
            found.hashes_numbers = found.hashes_numbers or not _is_text(hashed[0])
            found.is_certain = found.is_certain and (container is not dict or get_origin(hashed[0]) in (None, Literal))
        if isinstance(container, type) and container not in _CONTAINERS and container.__module__ != "collections.abc":
            found.is_certain = found.is_certain and container.__module__ == "types"  # types.UnionType
        step = "[…]" if container is dict else "" if container not in _CONTAINERS else "[]"
        return [(path + step, argument) for argument in arguments]
    if is_typeddict(declared) or dataclasses.is_dataclass(declared):
        found.is_certain = found.is_certain and is_typeddict(declared)
        hints = get_type_hints(declared, include_extras=True)
        found.names.update(hints)
        return [(f"{path}.{name}", hint) for name, hint in hints.items()]
    if isinstance(declared, type) and (declared in _PLAIN or issubclass(declared, Enum)):
        return []
    return _unknown(found)


def _unknown(found: Examined) -> list[tuple[str, Any]]:
    found.is_certain = False
    return []


def _look_at_model(found: Examined, path: str, model: Any) -> list[tuple[str, Any]]:
    if not model.__pydantic_complete__ and not model.model_rebuild(raise_errors=False):
        raise NameError(f"{model.__name__} mentions a class that is not defined yet")
    decorators = model.__pydantic_decorators__
    fields = model.model_fields
    found.models.append(model)
    found.names.update((*fields, model.__name__))
    found.names.update(alias for field in fields.values() for alias in _aliases(field))
    if decorators.model_serializers:
        return _unknown(found)
    serialized = {name for one in decorators.field_serializers.values() for name in one.info.fields}
    if (
        serialized
        or model.__private_attributes__
        or decorators.field_validators
        or decorators.model_validators
        or decorators.root_validators
        or decorators.validators
        or _overrides(model, "__get_pydantic_core_schema__")
        or _overrides(model, "model_post_init")
        or (not reads_names() and any(map(_aliases, fields.values())))
    ):
        found.is_certain = False
    inside: list[tuple[str, Any]] = []
    for name, field in fields.items():
        if field.exclude:
            found.loss = f"{path}.{name}", _EXCLUDED
            return []
        if getattr(field, "exclude_if", None) is not None or not all(map(_only_restricts, field.metadata)):
            found.is_certain = False
            continue
        if not serialized & {name, "*"}:
            inside.append((f"{path}.{name}", field.annotation))
    return inside


def _overrides(model: Any, method: str) -> bool:
    # pydantic itself puts a model_post_init into classes that have private attributes.
    defined = next((base for base in model.__mro__ if method in base.__dict__), None)
    return defined is not None and not str(defined.__module__).startswith("pydantic.")


def _aliases(field: Any) -> list[str]:
    found = (field.alias, field.validation_alias, field.serialization_alias)
    return [alias for alias in found if isinstance(alias, str)]


def _only_restricts(metadata: Any) -> bool:
    """Returns whether it refuses values at most, and changes none."""
    kind: Any = metadata.__class__
    return str(kind.__module__).startswith("annotated_types") or kind.__name__.lstrip("_") in _RESTRICTING


def _is_text(declared: Any) -> bool:
    return get_origin(declared) is Literal or (isinstance(declared, type) and issubclass(declared, (str, bytes, Enum)))
