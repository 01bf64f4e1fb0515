"""Checks of arguments at the point where they enter the library."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from durable.core.errors import InvalidArgument

T = TypeVar("T")

MAX_INTEGER = 2**31 - 1
"""The largest value that a column of type ``integer`` can hold."""


def whole_number(argument: str, value: int, least: int, most: int = MAX_INTEGER) -> int:
    """Returns the number as a plain ``int``. Raises ``InvalidArgument`` unless it is a whole number from ``least`` to
    ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidArgument(argument, value, f"a whole number between {least} and {most}")
    return int.__int__(value)


def one_of(argument: str, value: str, allowed: Collection[str]) -> None:
    """Raises ``InvalidArgument`` unless ``value`` is one of the allowed strings."""
    if not isinstance(value, str) or str.__str__(value) not in allowed:
        raise InvalidArgument(argument, value, f"one of {', '.join(allowed)}")


def truth(argument: str, value: bool) -> bool:  # noqa: FBT001 - the boolean is the value being checked
    """Returns the value. Raises ``InvalidArgument`` unless it is ``True`` or ``False``."""
    if not isinstance(value, bool):
        raise InvalidArgument(argument, value, "True or False")
    return value


def instance(argument: str, value: Any, type: type[T], rule: str) -> T:
    """Returns the value. Raises ``InvalidArgument``, with ``rule``, unless it is an instance of ``type``."""
    if not isinstance(value, type):
        raise InvalidArgument(argument, value, rule)
    return value


def check_codec(codec: Any) -> None:
    """Raises ``InvalidArgument`` for an object without the methods of a ``Codec``, and for a codec's class given in
    place of an instance."""
    if isinstance(codec, type) or not all(
        callable(getattr(codec, method, None)) for method in ("encode", "decode", "check_type")
    ):
        raise InvalidArgument("codec", codec, "an object with the methods of Codec, such as JsonCodec()")
