"""What steps noted, and how to wait for a status."""

from __future__ import annotations

import asyncio
from typing import Any

from durable import AsyncHandle


class Notes(list[str]):
    """What steps noted, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = asyncio.Event()

    async def note(self, text: str) -> str:
        self.append(text)
        self._arrived.set()
        return text

    async def until(self, text: str) -> None:
        async with asyncio.timeout(10):
            while text not in self:
                self._arrived.clear()
                await self._arrived.wait()


async def until_status(handle: AsyncHandle[Any], *statuses: str) -> None:
    async with asyncio.timeout(10):
        while (await handle.info()).status not in statuses:
            await asyncio.sleep(0.01)
