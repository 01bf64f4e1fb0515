"""Exceptions as they are stored, and how they are read back even if something else was written in their place."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from itertools import islice

import msgspec

MAX_ERROR_TEXT = 8192
"""At most this many characters are kept of a message, and of the end of a traceback."""
_MAX_MEMBERS = 10
"""At most this many exceptions of a group are named in its message."""


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception as it is stored. It is never rebuilt into its class, so any exception from any code can be kept.
    ``is_final``: it contains an error after which the run is not retried either."""

    type: str
    message: str
    traceback: str | None = None
    is_final: bool = False

    @property
    def text(self) -> str:
        """The error, encoded."""
        return msgspec.json.encode(self).decode()


def storable(text: str) -> str:
    """Returns the text shortened to ``MAX_ERROR_TEXT`` characters and without anything that Postgres cannot hold or
    convert to text."""
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return clean[:MAX_ERROR_TEXT].encode("utf-8", "backslashreplace").decode("utf-8")[:MAX_ERROR_TEXT]


def error_info(exception: BaseException, *, is_final: bool = False) -> ErrorInfo:
    """Returns the exception as it is stored: shortened, and without anything that Postgres cannot hold."""
    frames = "".join(traceback.format_exception(exception))
    frames = storable(frames[-MAX_ERROR_TEXT:])
    return ErrorInfo(type(exception).__name__, storable(_message(exception)), frames, is_final)


def _message(exception: BaseException) -> str:
    try:
        message = str(exception)
    except Exception as error:  # a broken __str__ must not hide the failure itself
        message = f"<str() of this {type(exception).__name__} raised {type(error).__name__}>"
    if isinstance(exception, BaseExceptionGroup):
        return f"{message}: {'; '.join(_members(exception))}"
    return message


def _members(group: BaseExceptionGroup[BaseException]) -> Iterator[str]:
    """Yields what the exceptions in a group say, which the message of the group does not."""
    for member in islice(group.exceptions, _MAX_MEMBERS):
        yield f"{type(member).__name__}: {_message(member)}"
    if len(group.exceptions) > _MAX_MEMBERS:
        yield f"and {len(group.exceptions) - _MAX_MEMBERS} more"


def read_error(text: str) -> ErrorInfo:
    """Decodes an ``ErrorInfo``. For any other text, returns one that says that the stored error cannot be read: a
    single row that was written by hand must not hide the rows that are read along with it."""
    try:
        return msgspec.json.decode(text, type=ErrorInfo)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        return ErrorInfo("DeserializationError", f"the stored error cannot be read: {error}")
