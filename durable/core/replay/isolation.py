"""Copies of the arguments of steps, so that a step cannot change what the workflow sees.

On replay, the step is not called: what it had changed in its arguments, the code would see the first time only. For the
same reason the second try of a step must not see what the first one left.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from typing import Any, cast

import msgspec

_COPIED = (list, dict, set, deque, bytearray)


def isolated(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the arguments with everything copied that holds data and can be changed: lists, dicts, sets, deques,
    bytearrays, dataclasses, ``msgspec.Struct`` and pydantic models, at any depth. Objects of any other kind, such as
    clients and connections, are passed on as they are."""
    for argument in arguments:
        if type(argument) not in _PLAIN:
            memo: dict[int, Any] = {}
            return tuple([_isolated(argument, memo) for argument in arguments])
    return arguments


def isolated_by_name(arguments: dict[str, Any]) -> dict[str, Any]:
    """Does for keyword arguments what ``isolated`` does."""
    return dict(zip(arguments, isolated(tuple(arguments.values())), strict=True))


_PLAIN = frozenset({str, int, float, bool, type(None), bytes})


def _isolated(value: Any, memo: dict[int, Any]) -> Any:
    kind = cast("Any", type(value))
    if kind in _PLAIN:
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind is tuple:
        return tuple([_isolated(member, memo) for member in value])
    if kind in _COPIED:
        return _container(value, memo)
    if isinstance(value, msgspec.Struct):
        return _with_fields(value, value.__struct_fields__, memo)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _with_fields(value, [field.name for field in dataclasses.fields(value)], memo)
    if hasattr(kind, "__pydantic_fields__"):
        return _model(value, memo)
    return value


def _container(value: Any, memo: dict[int, Any]) -> Any:
    made: Any = copy.copy(value)
    memo[id(value)] = made
    # The members of a set are hashable, and so not meant to change.
    if isinstance(value, list | deque):
        for index, member in enumerate(cast("list[Any]", made)):
            made[index] = _isolated(member, memo)
    elif isinstance(value, dict):
        for key, member in cast("dict[Any, Any]", made).items():
            made[key] = _isolated(member, memo)
    return made


def _with_fields(value: Any, fields: Any, memo: dict[int, Any]) -> Any:
    made = memo[id(value)] = copy.copy(value)
    for field in fields:
        member = getattr(value, field, _MISSING)
        if type(member) not in _PLAIN and member is not _MISSING:
            _set(made, field, _isolated(member, memo))
    return made


_MISSING = object()


def _set(value: Any, field: str, member: Any) -> None:
    if isinstance(value, msgspec.Struct):
        msgspec.structs.force_setattr(value, field, member)
    else:
        object.__setattr__(value, field, member)  # of frozen dataclasses too


def _model(value: Any, memo: dict[int, Any]) -> Any:
    made = memo[id(value)] = value.model_copy()
    fields = cast("dict[str, Any]", vars(made))
    for field, member in fields.items():
        fields[field] = _isolated(member, memo)
    return made
