"""Gives an order to what asyncio and anyio do in the order of addresses.

Both keep awaitables in sets. Tasks and futures of a run are numbered (see ``numbered``); this module is about the sets
of coroutines and of other objects, which have no number. Wrapping the functions would not do: a program may have
imported ``as_completed`` before it imports ``durable``. What these functions look up in their module at each call does
reach them. Outside the loop of a run, nothing changes.
"""

from __future__ import annotations

import importlib
import sys
from asyncio import events, tasks
from collections.abc import Iterable, Iterator, MutableSet
from typing import Any

from durable.core.replay.loop import ReplayLoop
from durable.core.replay.numbered import next_hash_of_future

_Gathering: Any = tasks._GatheringFuture  # type: ignore[attr-defined]  # what asyncio.gather returns


def _loop_of_run() -> ReplayLoop | None:
    loop = events._get_running_loop()
    return loop if isinstance(loop, ReplayLoop) else None


def _set(*values: Iterable[Any]) -> set[Any] | dict[Any, Any]:
    """``set`` as ``asyncio.wait`` and ``as_completed`` call it on their argument. In a run, the order is the given one.
    Sets that begin empty are filled with numbered tasks and futures."""
    loop = _loop_of_run()
    if loop is None or not values:
        return set(*values)
    members: dict[Any, Any] = dict.fromkeys(*values)
    for member in members:
        loop.check_future(member)
    return members


def _list(values: Iterable[Any] = ()) -> list[Any]:
    """``list`` as ``asyncio.all_tasks`` calls it on the tasks of the whole process, in one or two parts."""
    loop = _loop_of_run()
    if loop is None:
        return list(values)
    return [] if values is getattr(tasks, "_eager_tasks", None) else list(loop.live_tasks())


def _hash_of_gathering(future: Any) -> int:
    loop = future.get_loop()
    if not isinstance(loop, ReplayLoop):
        return object.__hash__(future)
    found: int | None = getattr(future, "_durable_hash", None)
    if found is None:
        found = future._durable_hash = next_hash_of_future(loop)
    return found


# Found before the builtins, by the functions of that module only.
tasks.set = _set  # type: ignore[attr-defined]  # the module has no such global yet
tasks.list = _list  # type: ignore[attr-defined]  # nor this one
_Gathering.__hash__ = _hash_of_gathering


_ANYIO = "anyio._backends._asyncio"


class _InOrder(MutableSet[Any]):
    """A set that is iterated in the order in which its members were added."""

    def __init__(self) -> None:
        self._members: dict[Any, None] = {}

    def add(self, value: Any) -> None:
        self._members[value] = None

    def discard(self, value: Any) -> None:
        self._members.pop(value, None)

    def __contains__(self, value: object) -> bool:
        return value in self._members

    def __iter__(self) -> Iterator[Any]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def _set_for_anyio(values: Iterable[Any] = ()) -> Any:
    """``set`` as anyio calls it for the child scopes and the tasks of a cancel scope."""
    if _loop_of_run() is None:
        return set(values)
    members = _InOrder()
    for value in values:
        members.add(value)
    return members


def order_anyio() -> None:
    """Gives an order to anyio's cancel scopes."""
    backend: Any = sys.modules.get(_ANYIO) or importlib.import_module(_ANYIO)
    if "set" not in vars(backend):
        backend.set = _set_for_anyio
