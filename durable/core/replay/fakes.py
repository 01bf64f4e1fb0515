"""What a mock of ``unittest.mock`` returns, if it stands in for a step in a test.

A mock has no annotations of its own, and without a declared type the workflow would get plain JSON where the real step
gives it an object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import GenericAlias
from typing import Any, get_type_hints


def mock_of(function: Any) -> Any:
    """Returns the mock that the function is or that ``create_autospec`` put behind it, ``None`` if there is none."""
    mocks = sys.modules.get("unittest.mock")
    if mocks is None:
        return None
    if isinstance(function, mocks.NonCallableMock):
        return function
    behind = getattr(function, "mock", None)
    return behind if isinstance(behind, mocks.NonCallableMock) else None


def is_async_mock(mock: Any) -> bool:
    """Returns whether calls of the mock are awaited."""
    return isinstance(mock, sys.modules["unittest.mock"].AsyncMock)


def returned_by(function: Any, mock: Any, returned_by_real: Callable[[Any], Any]) -> Any:
    """Returns the type that the mock, which is behind ``function``, returns: that of the function which it imitates,
    wraps or calls, if that is known, and otherwise that of the value that it was given to return.

    ``returned_by_real`` reads the annotation of a function.
    """
    for real in (mock.side_effect, mock._mock_wraps):
        if callable(real) and not isinstance(real, type):
            return returned_by_real(real)
    declared = _declared(function, mock)
    if declared is not Any:
        return declared
    given = mock.return_value
    return Any if isinstance(given, sys.modules["unittest.mock"].NonCallableMock) else _type_of(given)


def _declared(function: Any, mock: Any) -> Any:
    signature = mock.__dict__.get("_spec_signature")
    declared = Any if signature is None else signature.return_annotation
    if signature is not None and declared is signature.empty:
        return Any
    if not isinstance(declared, str):
        return declared
    # Where the name was to be found is known only of what create_autospec makes: it calls a check of the arguments that
    # bears the module of the real function.
    check = getattr(function, "__globals__", {}).get("_checksig_")
    module = sys.modules.get(getattr(check, "__module__", ""))

    def imitation() -> None: ...

    imitation.__annotations__ = {"return": declared}
    try:
        return get_type_hints(imitation, vars(module) if module else {}, include_extras=True)["return"]
    except NameError:
        return Any


def _type_of(value: object) -> Any:
    """Returns the type of the value, and of its members if they all have one type."""
    kind: Any = type(value)
    members: Any = value  # not narrowed by the checks below
    if kind is dict and members:
        return GenericAlias(dict, (_common(members), _common(members.values())))
    if kind is tuple:
        return GenericAlias(tuple, tuple(map(_type_of, members)))
    if kind in (list, set, frozenset) and members:
        return GenericAlias(kind, _common(members))
    return kind


def _common(values: Any) -> Any:
    kinds = [_type_of(value) for value in values]
    return kinds[0] if all(kind == kinds[0] for kind in kinds) else Any
