"""What a running worker consists of, besides the duties that look for work."""

from __future__ import annotations

import msgspec

from durable.worker.database import Database
from durable.worker.executions import Executions
from durable.worker.journal import Journal
from durable.worker.lease import Lease


class Parts(msgspec.Struct, frozen=True):
    database: Database
    lease: Lease
    journal: Journal
    executions: Executions

    async def flush(self) -> None:
        """Returns once no run is being executed and everything is written."""
        await self.executions.becomes_idle()
        await self.journal.drain()
