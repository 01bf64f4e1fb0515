"""Tasks and futures that their loop numbers.

Sets of them, such as those that ``asyncio.wait`` returns and ``TaskGroup`` cancels, are iterated by hash. By the
default hash, the address, no replay would see the same order as the run before. Small sets of numbers are iterated in
the order of creation.

Above the number, the hash holds a part of the run's id. asyncio keeps the tasks of all loops in one set, where small
numbers alone would collide: with 8,000 parked runs, starting a run of ten tasks took 8.6 ms instead of 0.3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import Any

_BITS_OF_NUMBER = 16
_DIGITS_OF_SALT = 11
"""Hexadecimal digits. Together with the number they stay below the 61 bits to which Python reduces a hash. Beyond
those, the salt would rotate the order."""


def salt_of(run_id: str) -> int:
    """Returns the part of the hash that is the same for everything in one run."""
    return int(run_id[-_DIGITS_OF_SALT:], 16) << _BITS_OF_NUMBER


class NumberedFuture(asyncio.Future[Any]):
    __slots__ = ("_hash",)

    def __init__(self, *, loop: Any) -> None:
        self._hash: int = next_hash_of_future(loop)
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._hash


class MainTask(asyncio.Task[Any]):
    """The task of the workflow itself, which is number 0. It has no ``__init__`` of its own: every run makes one, and
    that would cost a tenth of the run. ``own_context`` is the context in which it runs, which Python 3.11 does not
    tell; it is set by ``main_task``."""

    __slots__ = ("own_context",)
    own_context: Context

    def __hash__(self) -> int:
        return self._loop.salt  # type: ignore[attr-defined, no-any-return]  # by asyncio's task


def main_task(coro: Coroutine[Any, Any, Any], loop: Any) -> MainTask:
    """Returns the task of a workflow, whose coroutine is given."""
    context = copy_context()
    task = MainTask(coro, loop=loop, name="Task-1", context=context)
    task.own_context = context
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio.gather does: parked runs are dropped
    return task


_init_task = asyncio.Task.__init__


class NumberedTask(MainTask):
    """A task that the workflow starts. Its default name continues that of the main task, not a counter of the
    process."""

    __slots__ = ("_hash",)

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        loop: Any,
        name: object = None,
        context: Context | None = None,
        **options: Any,
    ) -> None:
        number = loop.tasks_made = loop.tasks_made + 1
        self._hash: int = loop.salt + number  # before the task is initialized, which puts it into sets
        if context is None:
            context = copy_context()
        self.own_context = context
        name = f"Task-{number + 1}" if name is None else str(name)
        _init_task(self, coro, loop=loop, name=name, context=context, **options)
        self._log_destroy_pending = False
        tasks = loop.tasks
        tasks.append(self)
        if len(tasks) > loop.max_tasks:
            loop.prune_tasks()

    def __hash__(self) -> int:
        return self._hash


def next_hash_of_future(loop: Any) -> int:
    """Returns the hash of the next future of that loop."""
    number: int = loop.futures_made + 1
    loop.futures_made = number
    return int(loop.salt) + number
