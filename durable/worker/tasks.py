"""Cancels tasks and waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
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
