"""What programs do with asyncio's timers. A trace names each by the leaf or block that arms it: its number, which is
its key, is not known to the code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

TIMERS = ("nap", "later", "glance", "time")
LIMITS = ("timeout", "named", "strict", "wait_for", "wait")

FIRED = ("nap ", "later ", "limit ")
"""How the lines of a trace begin that tell of a timer that has fired, unless they tell of a cancel."""

_SECONDS = (0.4, 1.0, 1.0, 2.5)


def seconds_of(path: str) -> float:
    """Often the same for two timers of one program."""
    return _SECONDS[sum(path.encode()) % len(_SECONDS)]


def begin(kind: str, path: str) -> Coroutine[Any, Any, Any]:
    seconds = seconds_of(path)
    match kind:
        case "nap":
            return asyncio.sleep(seconds, path)
        case "later":
            return _called_later(seconds, path)
        case "glance":
            return asyncio.wait_for(asyncio.sleep(0, path), 60)  # armed and canceled in one turn
        case _:
            return _told_the_time()


async def _called_later(seconds: float, value: str) -> str:
    loop = asyncio.get_running_loop()
    called = loop.create_future()
    timer = loop.call_later(seconds, called.set_result, value)
    try:
        return str(await called)
    finally:
        timer.cancel()


async def _told_the_time() -> float:
    return asyncio.get_running_loop().time()
