"""Whether the garbage collector is running.

What it finds, it finds at a moment that no replay would meet, so nothing of a workflow may happen then.
"""

from __future__ import annotations

import gc
from asyncio import events

_collecting: set[object] = set()
"""The loops that were running in their threads when the collector started there: other threads do not count."""


def _note_collection(phase: str, _: object) -> None:
    loop = events._get_running_loop()
    if loop is not None:
        (_collecting.add if phase == "start" else _collecting.discard)(loop)


gc.callbacks.append(_note_collection)


def is_collecting(loop: object) -> bool:
    """Returns whether the caller, which runs in a turn of that loop, was called by the garbage collector."""
    return loop in _collecting
