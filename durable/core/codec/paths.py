"""How a place within a value is written, and a class."""

from __future__ import annotations

import json
from typing import Any

from durable.core.errors import shorten


def step_to(key: Any) -> str:
    """Returns the step from a dict to the member with that key."""
    if not isinstance(key, str):
        return f"[{shorten(repr(key), 60)}]"
    return f".{key}" if key.isidentifier() else f"[{shorten(json.dumps(key), 60)}]"


def shorten_path(path: str) -> str:
    """Returns at most 200 characters of the path, from both of its ends."""
    return path if len(path) <= 200 else f"{path[:120]}…{path[-79:]}"


def name_of(type: Any) -> str:
    """Returns the class with its module, as in ``socket.socket``, or without it for builtins."""
    return f"{type.__module__}.{type.__qualname__}".removeprefix("builtins.")
