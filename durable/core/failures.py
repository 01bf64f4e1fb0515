"""Exceptions as they are stored, and how they are read back even if something else was written in their place."""

from __future__ import annotations

import traceback

import msgspec

MAX_ERROR_TEXT = 8192
"""At most this many characters are kept of a message, and of the end of a traceback."""


class ErrorInfo(msgspec.Struct, frozen=True):
    """An exception as it is stored. It is never rebuilt into its class, so any exception from any code can be kept."""

    type: str
    message: str
    traceback: str | None = None

    @property
    def text(self) -> str:
        """The error, encoded."""
        return msgspec.json.encode(self).decode()


def storable(text: str) -> str:
    """Returns the text shortened to ``MAX_ERROR_TEXT`` characters and without anything that Postgres cannot hold or
    convert to text."""
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return clean[:MAX_ERROR_TEXT].encode("utf-8", "backslashreplace").decode("utf-8")[:MAX_ERROR_TEXT]


def error_info(exception: BaseException) -> ErrorInfo:
    """Returns the exception as it is stored: shortened, and without anything that Postgres cannot hold."""
    frames = "".join(traceback.format_exception(exception))
    try:
        message = str(exception)
    except Exception as error:  # a broken __str__ must not hide the failure itself
        message = f"<str() of this {type(exception).__name__} raised {type(error).__name__}>"
    return ErrorInfo(type(exception).__name__, storable(message), storable(frames[-MAX_ERROR_TEXT:]))


def read_error(text: str) -> ErrorInfo:
    """Decodes an ``ErrorInfo``. For any other text, returns one that says that the stored error cannot be read: a
    single row that was written by hand must not hide the rows that are read along with it."""
    try:
        return msgspec.json.decode(text, type=ErrorInfo)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        return ErrorInfo("DeserializationError", f"the stored error cannot be read: {error}")
