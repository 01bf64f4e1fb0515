"""Arguments, checked where they enter."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from durable.core.errors import InvalidArgument

T = TypeVar("T")

MAX_INTEGER = 2**31 - 1
"""What a column of type integer holds."""


def whole_number(argument: str, value: int, least: int, most: int = MAX_INTEGER) -> int:
    """The number, as a plain ``int``. Raises ``InvalidArgument`` unless it lies between the two."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidArgument(argument, value, f"a whole number between {least} and {most}")
    return int.__int__(value)


def one_of(argument: str, value: str, allowed: Collection[str]) -> None:
    """Raises ``InvalidArgument`` unless the text is one of the allowed ones."""
    if not isinstance(value, str) or str.__str__(value) not in allowed:
        raise InvalidArgument(argument, value, f"one of {', '.join(allowed)}")


def truth(argument: str, value: bool) -> bool:  # noqa: FBT001 - it is the value that is checked
    """The value. Raises ``InvalidArgument`` unless it is ``True`` or ``False``."""
    if not isinstance(value, bool):
        raise InvalidArgument(argument, value, "True or False")
    return value


def instance(argument: str, value: Any, type: type[T], rule: str) -> T:
    """The value. Raises ``InvalidArgument`` unless it is of that type."""
    if not isinstance(value, type):
        raise InvalidArgument(argument, value, rule)
    return value


def check_codec(codec: Any) -> None:
    """Raises ``InvalidArgument`` for what has not the methods of a ``Codec``, and for the class of one."""
    if isinstance(codec, type) or not all(
        callable(getattr(codec, method, None)) for method in ("encode", "decode", "check_type")
    ):
        raise InvalidArgument("codec", codec, "an object with the methods of Codec, such as JsonCodec()")
