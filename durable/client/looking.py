"""The part of both clients that looks at runs in order to explain them."""

from __future__ import annotations

from durable.client.begins import BeginOperations
from durable.client.connections import AsyncConnections, Connections
from durable.core.diagnosis.cause import Cause
from durable.core.replay.targets import RunTarget, check_target


class LookingCalls:
    """What a ``Client`` says about runs."""

    _operations: BeginOperations
    _connections: Connections

    def explain_run(self, run_key: RunTarget) -> list[Cause]:
        """Returns why the run is not moving, or where it is, worst first; the same as ``durable why``.

        The role needs to see what ``durable_viewer`` sees; errors are told if it may read them. Raises
        ``RunNotFound``.
        """
        return self._connections.transact(self._operations.explain(check_target("run_key", run_key)))


class AsyncLookingCalls:
    """The asyncio counterpart of ``LookingCalls``."""

    _operations: BeginOperations
    _connections: AsyncConnections

    async def explain_run(self, run_key: RunTarget) -> list[Cause]:
        """Same as ``Client.explain_run``."""
        return await self._connections.transact(self._operations.explain(check_target("run_key", run_key)))
