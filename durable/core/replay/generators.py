"""Async generators of workflow code belong to the loop of their run, which closes those that are left half-way.

The interpreter calls the hooks of the thread for every async generator. Setting them for each turn of a run and back
would cost as much as the turn. So they are set once while a real loop runs that is to execute workflows. A real loop
has hooks of its own, which it sets when it starts: what belongs to it is passed on to them.
"""

from __future__ import annotations

import sys
from asyncio import events
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol, TypeAlias, cast

_Generator: TypeAlias = AsyncGenerator[Any, Any]
_Hook: TypeAlias = Callable[[_Generator], object]


class Closer(Protocol):
    """The loop of a run."""

    has_generators: bool

    def close_generator(self, generator: _Generator) -> None:
        """Closes a generator of this run that was left half-way."""
        ...


_owners: dict[int, Any] = {}
"""The loops of the runs in which generators were first iterated, by the ids of the generators. Weak references would be
cleared before a generator is finalized. An id that is used again is entered again, or removed if the new generator
belongs to no run."""


class _Hooks:
    """The hooks of one thread and, behind them, those of its real loop. Called with a generator that was left."""

    __slots__ = ("_finalizer", "_firstiter")

    def __init__(self, firstiter: _Hook | None, finalizer: _Hook | None) -> None:
        self._firstiter = firstiter
        self._finalizer = finalizer

    def begun(self, generator: _Generator) -> None:
        loop = events._get_running_loop()
        if hasattr(loop, "close_generator"):
            _owners[id(generator)] = loop
            cast(Closer, loop).has_generators = True
            return
        _owners.pop(id(generator), None)
        if self._firstiter is not None:
            self._firstiter(generator)

    def __call__(self, generator: _Generator) -> None:
        owner = _owners.pop(id(generator), None)
        if owner is not None:
            cast(Closer, owner).close_generator(generator)
        elif self._finalizer is not None:
            self._finalizer(generator)


def forget_generators(loop: Closer) -> None:
    """Drops what is known about the generators of a run that has left this worker."""
    for known, owner in list(_owners.items()):
        if owner is loop:
            del _owners[known]


def watch_generators() -> None:
    """Has this thread's hooks call the loops of runs for their generators. Called once in every real loop, while it
    runs, before the first run is executed there."""
    hooks = sys.get_asyncgen_hooks()
    finalizer: object = hooks[1]
    if not isinstance(finalizer, _Hooks):
        ours = _Hooks(*hooks)
        sys.set_asyncgen_hooks(ours.begun, ours)
