"""Keys and names: non-empty text that fits an index."""

from __future__ import annotations

from durable.core.errors import InvalidArgument

_MOST_BYTES = 200
_RULE = "a non-empty str of at most 200 bytes of UTF-8, without NUL"


def check_key(argument: str, key: str) -> str:
    """The key itself. Raises ``InvalidArgument`` unless it is a non-empty str of at most 200 bytes without NUL."""
    if not isinstance(key, str) or not key or "\0" in key:
        raise InvalidArgument(argument, key, _RULE)
    if len(key) > _MOST_BYTES or not key.isascii():
        try:
            is_short = len(key.encode()) <= _MOST_BYTES
        except UnicodeEncodeError:
            is_short = False
        if not is_short:
            raise InvalidArgument(argument, key, _RULE)
    return key
