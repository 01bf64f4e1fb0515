"""Waits for tasks, and cancels them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

_logger = logging.getLogger("durable.worker")

_CANCEL_SECONDS = 0.2


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels the tasks until they have ended, more than once if necessary: psycopg responds to a first cancel by
    asking the server to cancel the statement, for up to ten seconds if the network is silent, and to a second one by
    closing the connection."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=_CANCEL_SECONDS)
        for task in done:
            if not task.cancelled() and task.exception() is not None:
                _logger.debug("%r ended while it was cancelled", task, exc_info=task.exception())


async def until_stopped(stop: asyncio.Event, duties: Sequence[asyncio.Task[None]]) -> None:
    """Waits for the event, or for the first duty to end, and raises what that raised."""
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({stopping, *duties}, return_when=asyncio.FIRST_COMPLETED)
        for duty in duties:
            if duty in done:
                try:
                    await duty  # a duty ends only because of a defect, which is raised here
                except Exception:
                    _logger.exception("the worker ends because of an unexpected error")
                    raise
    finally:
        stopping.cancel()
