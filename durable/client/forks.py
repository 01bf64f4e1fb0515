"""Clients that were made before their process was forked, as servers do that load an application before their workers.

The child has the parent's sockets, but none of its threads and loops. So whatever the parent has opened stays the
parent's: the child neither uses nor closes it, and opens connections of its own.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that holds connections."""

    def begin_again_in_child(self) -> None:
        """Called in the child, before anything else runs there."""
        ...


_known: WeakSet[Forkable] = WeakSet()
_left: list[object] = []


def know(forkable: Forkable) -> None:
    """Has it told in each child of this process."""
    _known.add(forkable)


def leave(what: object) -> None:
    """Keeps something that belongs to the parent. If it were freed, it would try to end threads and tasks that are not
    here."""
    _left.append(what)


def _begin_again() -> None:
    for forkable in list(_known):
        forkable.begin_again_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
