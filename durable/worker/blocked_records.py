"""Records whose flush waited too long for a lock: they are written in ever smaller parts, while everything else goes
on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between two rounds, as long as none brings anything."""


class Blocked(Generic[T]):
    """Writes what it is given, one part at a time, so that it never takes more than one connection. A part that is
    blocked again is halved. What is left in the end are the records that wait for somebody's transaction; each is tried
    again until that transaction ends."""

    def __init__(self) -> None:
        self._parts: list[tuple[Callable[[Sequence[T]], Awaitable[bool]], Sequence[T]]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, write: Callable[[Sequence[T]], Awaitable[bool]], items: Sequence[T]) -> None:
        """``write`` returns whether the items need not be tried again."""
        self._parts.append((write, items))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="blocked records")

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The task that writes, if anything is left."""
        return [] if self._task is None else [self._task]

    async def _run(self) -> None:
        fruitless = 0
        try:
            while self._parts:
                parts, self._parts = self._parts, []
                done = [await self._try(*part) for part in parts]
                fruitless = 0 if any(done) else fruitless + 1
                if self._parts:
                    await asyncio.sleep(_PAUSES[min(fruitless, len(_PAUSES) - 1)])
        finally:
            self._task = None

    async def _try(self, write: Callable[[Sequence[T]], Awaitable[bool]], items: Sequence[T]) -> bool:
        """Returns whether anything is new: the items are done, or are in smaller parts."""
        if await write(items):
            return True
        middle = (len(items) + 1) // 2
        self._parts += [(write, half) for half in (items[:middle], items[middle:]) if half]
        return len(items) > 1
