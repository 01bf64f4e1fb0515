"""An exception as it is stored, and how it is read back, whatever has been written there."""

from __future__ import annotations

import traceback

import msgspec

MAX_ERROR_TEXT = 8192
"""Characters of a message, and of the end of a traceback."""


class ErrorInfo(msgspec.Struct, frozen=True):
    """An exception as it is stored: never rebuilt into its class, so any exception of any code can be kept."""

    type: str
    message: str
    traceback: str | None = None

    @property
    def text(self) -> str:
        """This, encoded."""
        return msgspec.json.encode(self).decode()


def storable(text: str) -> str:
    """Bounded, and free of what Postgres cannot hold or turn into text."""
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return clean[:MAX_ERROR_TEXT].encode("utf-8", "backslashreplace").decode("utf-8")[:MAX_ERROR_TEXT]


def error_info(exception: BaseException) -> ErrorInfo:
    """The exception as it is stored: bounded, and free of what Postgres cannot hold."""
    frames = "".join(traceback.format_exception(exception))
    try:
        message = str(exception)
    except Exception as error:  # a broken __str__ must not hide the failure itself
        message = f"<str() of this {type(exception).__name__} raised {type(error).__name__}>"
    return ErrorInfo(type(exception).__name__, storable(message), storable(frames[-MAX_ERROR_TEXT:]))


def read_error(text: str) -> ErrorInfo:
    """What ``ErrorInfo`` was encoded to. Of anything else it says that it cannot be read: one row that was written by
    hand must not hide those it is read with."""
    try:
        return msgspec.json.decode(text, type=ErrorInfo)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        return ErrorInfo("DeserializationError", f"the stored error cannot be read: {error}")
