"""Errors as they are stored, read back whatever has been written there."""

from __future__ import annotations

import msgspec

from durable.core.errors import ErrorInfo


def read_error(text: str) -> ErrorInfo:
    """What ``ErrorInfo`` was encoded to. Of anything else it says that it cannot be read: one row that was written by
    hand must not hide those it is read with."""
    try:
        return msgspec.json.decode(text, type=ErrorInfo)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        return ErrorInfo("DeserializationError", f"the stored error cannot be read: {error}")
