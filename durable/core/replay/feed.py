"""Events one after the other, as ``async for`` takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from durable.core.keys import check_key

T = TypeVar("T")


class EventFeed(AsyncIterator[T]):
    """What ``ctx.events`` returns. ``wait`` waits for the next event under the key that it is given. Not a generator:
    a loop that is left leaves nothing behind that would have to be closed, and another loop may go on."""

    __slots__ = ("_key", "_number", "_wait")

    def __init__(self, key: str, wait: Callable[[str], Awaitable[T]]) -> None:
        self._key = key
        self._number = 0
        self._wait = wait

    def __aiter__(self) -> EventFeed[T]:
        return self

    async def __anext__(self) -> T:
        key = check_key("key", f"{self._key}[{self._number}]")
        self._number += 1
        return await self._wait(key)
