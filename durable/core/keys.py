"""Keys and names: non-empty text that fits an index."""

from __future__ import annotations

from durable.core.errors import InvalidArgument

_MAX_BYTES = 200
_ASYNCIO = "asyncio:"
"""Keys that begin like this are given by the engine, to the timers of asyncio."""
_RULE = "a non-empty str of at most 200 bytes of UTF-8, without NUL or lone surrogates"


def check_key(argument: str, key: str) -> str:
    """Returns the key as a plain ``str``. Raises ``InvalidArgument`` unless it is a non-empty str of at most 200 bytes
    of UTF-8, without NUL or lone surrogates, that does not begin like the keys of asyncio's timers."""
    if type(key) is str and key.isascii() and key[:8] != _ASYNCIO and 0 < len(key) <= _MAX_BYTES and "\0" not in key:
        return key
    if not isinstance(key, str):
        raise InvalidArgument(argument, key, _RULE)
    if key.startswith(_ASYNCIO):
        raise InvalidArgument(argument, key, f"a key that does not begin with {_ASYNCIO!r}, as asyncio's timers do")
    plain = str.__str__(key)  # otherwise a database driver may write an enum member by its name
    try:
        size = len(plain.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= _MAX_BYTES or "\0" in plain:
        raise InvalidArgument(argument, key, _RULE)
    return plain
