"""What is read from the signature of a function: whether it is async, what it takes and what it returns."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

import msgspec

from durable.core.errors import InvalidArgument
from durable.core.replay.fakes import is_async_mock, mock_of, returned_by


class Signature(msgspec.Struct, frozen=True):
    """What the engine needs to know about a function. ``Any`` means that the type is not declared. ``keywords`` are the
    names that arguments can be passed by; ``None`` if any can be, or if that cannot be known."""

    name: str
    is_async: bool
    parameters: tuple[Any, ...]
    returns: Any
    keywords: frozenset[str] | None


_signatures: WeakKeyDictionary[Any, Signature] = WeakKeyDictionary()
"""By function; for callable objects, which may be neither hashable nor weakly referenced, by the method of their
type."""


def signature_of(function: Callable[..., object]) -> Signature:
    """Returns the signature of a function, method, partial or callable object. Raises ``InvalidArgument`` if it is not
    callable, is a generator function, or has annotations that cannot be resolved."""
    if type(function) is FunctionType and (known := _signatures.get(function)) is not None:
        return known
    plain = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    plain = getattr(plain, "__func__", plain)
    if not callable(plain):
        raise InvalidArgument("fn", repr(plain), "a function or another callable object")
    mock = mock_of(plain)
    if mock is not None:
        return _signature_of_mock(plain, mock)  # each time, because a test may give it another value
    named: Any = plain if hasattr(plain, "__qualname__") else type(plain).__call__
    try:
        known = _signatures.get(named)
    except TypeError:  # neither hashable nor weakly referenced, such as (1).__add__
        return _read_signature(plain)
    if known is None:
        known = _signatures[named] = _read_signature(plain)
    return known


def _signature_of_mock(function: Any, mock: Any) -> Signature:
    return Signature(
        name=function.__qualname__ if inspect.isfunction(function) else type(mock).__name__,
        is_async=is_async_mock(mock),
        parameters=(),
        keywords=None,
        returns=returned_by(function, mock, lambda real: signature_of(real).returns),
    )


def _read_signature(function: Callable[..., object]) -> Signature:
    described = function if hasattr(function, "__qualname__") else type(function).__call__
    name = str(getattr(function, "__qualname__", type(function).__qualname__))
    if inspect.isgeneratorfunction(described) or inspect.isasyncgenfunction(described):
        rule = "a function that returns its result, not a generator: return a list, or make each part a step"
        raise InvalidArgument("fn", name, rule)
    try:
        hints = get_type_hints(described, include_extras=True)
    except NameError as error:
        raise InvalidArgument(
            "fn", name, f"a function whose annotations resolve at module level ({error}; import or define it there)"
        ) from error
    try:
        parameters, is_known = list(inspect.signature(described).parameters.values()), True
    except ValueError:  # some builtins have no signature to read
        parameters, is_known = list[inspect.Parameter](), False
    return Signature(
        name=name,
        is_async=inspect.iscoroutinefunction(described),
        parameters=tuple(
            hints.get(parameter.name, Any)
            for parameter in parameters
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ),
        returns=hints.get("return", Any),
        keywords=_keywords(parameters) if is_known else None,
    )


def _keywords(parameters: Iterable[inspect.Parameter]) -> frozenset[str] | None:
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(
        parameter.name
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    )
