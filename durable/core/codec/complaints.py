"""What msgspec and pydantic report about a value. The path and the broken rule are shown and never the value, because
the report is logged and is stored where others may read it."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from functools import cache
from typing import Any, get_args

import msgspec

from durable.core.errors import shorten

_REPEATED = {
    "Invalid enum value ": "Invalid enum value",
    "Invalid value ": "Invalid tag",
    "Object contains unknown field ": "Object contains an unknown field",
}
"""How the messages begin in which msgspec repeats what it read, and what is shown instead. In its paths, the keys of a
dict are ``[...]``."""
_AT = re.compile(r" - at (?:`key` in )?`\$[^`]*`\Z")
_TELLING = frozenset(("error", "encoding_error", "tag", "tz_actual", "attribute"))
"""What pydantic takes from the value, or from an exception of the user's code, for its message."""
_USERS = frozenset(("value_error", "assertion_error"))


class Unreadable(NotImplementedError):
    """Values of a type that is not supported are to be read. The message is about the type."""


def described(error: Exception, names: Collection[str] = ()) -> str:
    """Returns what is wrong with a value. ``names`` are those of declared fields: any other in a path is part of the
    value. Of an exception that user code raised, only the class is shown."""
    refusal = _refusal_of_pydantic(error)
    if refusal is not None:
        return shorten(_complaints(refusal, names) + _place(error), 1000)
    if isinstance(error, msgspec.MsgspecError) and error.__cause__ is None:
        message = str(error)
        shown = next((shown for begun, shown in _REPEATED.items() if message.startswith(begun)), None)
        return shorten(message if shown is None else shown + _place(error), 1000)
    raised = error.__cause__ or error
    return f"{raised if isinstance(raised, Unreadable) else type(raised).__name__}{_place(error)}"


def _refusal_of_pydantic(error: Exception) -> Any:
    if "pydantic" not in sys.modules:
        return None
    refusal = error if error.__cause__ is None else error.__cause__  # msgspec raises its own error from it
    return refusal if isinstance(refusal, sys.modules["pydantic"].ValidationError) else None


def _complaints(refusal: Any, names: Collection[str]) -> str:
    found = refusal.errors(include_url=False, include_input=False)
    listed = "; ".join(f"{_location(one['loc'], names)}: {_message(one)}" for one in found)
    return f"{len(found)} validation error{'s'[: len(found) > 1]} for {refusal.title}: {listed}"


def _location(steps: tuple[int | str, ...], names: Collection[str]) -> str:
    return ".".join(str(step) if isinstance(step, int) or step in names else "[…]" for step in steps) or "$"


def _message(one: Any) -> str:
    is_own = one["type"] in _own_types() and one["type"] not in _USERS and _TELLING.isdisjoint(one.get("ctx", ()))
    return str(one["msg"] if is_own else one["type"])


@cache
def _own_types() -> frozenset[str]:
    return frozenset(get_args(sys.modules["pydantic_core"].core_schema.ErrorType))


def _place(error: Exception) -> str:
    at = _AT.search(str(error)) if isinstance(error, msgspec.MsgspecError) else None
    return "" if at is None else at[0]
