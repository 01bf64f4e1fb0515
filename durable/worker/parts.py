"""What a running worker consists of, besides the duties that look for work."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from durable.worker.database import Database
from durable.worker.executions import Executions
from durable.worker.journal import Journal
from durable.worker.lease import Lease
from durable.worker.tasks import cancel_and_wait

_logger = logging.getLogger("durable.worker")

_FLUSH_SECONDS = 5.0
"""How long a stopping worker tries to write what it still holds."""
_OUT_OF_TOUCH_SECONDS = 0.5
"""The same if the database is not answering anyway."""


class Parts(msgspec.Struct, frozen=True):
    database: Database
    lease: Lease
    journal: Journal
    executions: Executions

    async def flush(self) -> None:
        """Returns once no run is being executed and everything is written."""
        await self.executions.becomes_idle()
        await self.journal.drain()

    async def flush_in_time(self) -> None:
        """Does the same, but lets go of what the database does not accept in time."""
        flushed = asyncio.create_task(self.flush())
        patience = _FLUSH_SECONDS if self.lease.is_in_touch else _OUT_OF_TOUCH_SECONDS
        _, unfinished = await asyncio.wait({flushed}, timeout=patience)
        if unfinished:
            await cancel_and_wait([flushed])
            _logger.error("the database did not accept the last records; their runs continue on other workers")
            await self.journal.close()
        elif error := flushed.exception():
            _logger.error("unexpected error while writing the last records", exc_info=error)
