"""The part of both clients that exchanges messages with runs."""

from __future__ import annotations

from durable.client.begins import BeginOperations
from durable.client.connections import AsyncConnections, Connections
from durable.client.targets import RunTarget
from durable.postgres.transactions import AsyncTransaction, SyncTransaction


class MessageCalls:
    """What a ``Client`` sends to runs, and what it hears from them."""

    _operations: BeginOperations
    _connections: Connections

    def publish_event(self, run_key: RunTarget, name: str, payload: object = None, *, key: str | None = None) -> bool:
        """Puts an event into the run's inbox, where it stays until a wait for that name takes it.

        ``key`` makes the call idempotent: of several events with the same run, name and key, only the first is stored.
        Returns ``False`` if that was another one, whatever its payload is, so that this one was ignored. If the run's
        workflow has a codec of its own, publish through the run's handle, which uses that codec.

        Raises ``RunNotFound``, ``RunTerminal``, ``InvalidArgument`` or ``SerializationError``, in which case nothing
        was stored.
        """
        event = self._operations.new_event(run_key, name, payload, key)
        return self._connections.run(self._operations.publish_event(event))

    def publish_event_tx(
        self, tx: SyncTransaction, run_key: RunTarget, name: str, payload: object = None, *, key: str | None = None
    ) -> bool:
        """Like ``publish_event``, but in the caller's transaction: the event exists only if that transaction commits.
        The run may have been begun in the same transaction. See ``begin_tx`` for ``tx``."""
        event = self._operations.new_event(run_key, name, payload, key)
        return self._connections.take_part(tx, self._operations.publish_event(event))


class AsyncMessageCalls:
    """The asyncio counterpart of ``MessageCalls``."""

    _operations: BeginOperations
    _connections: AsyncConnections

    async def publish_event(
        self, run_key: RunTarget, name: str, payload: object = None, *, key: str | None = None
    ) -> bool:
        """Same as ``Client.publish_event``."""
        event = self._operations.new_event(run_key, name, payload, key)
        return await self._connections.run(self._operations.publish_event(event))

    async def publish_event_tx(
        self, tx: AsyncTransaction, run_key: RunTarget, name: str, payload: object = None, *, key: str | None = None
    ) -> bool:
        """Same as ``Client.publish_event_tx``."""
        event = self._operations.new_event(run_key, name, payload, key)
        return await self._connections.take_part(tx, self._operations.publish_event(event))
