"""The part of both clients that exchanges messages with runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from durable.client.begins import BeginOperations
from durable.client.connections import AsyncConnections, Connections
from durable.client.request_handles import AsyncRequestHandle, RequestHandle
from durable.client.results import AsyncResults, Results
from durable.client.targets import codec_of
from durable.core.durations import seconds
from durable.core.events import Event
from durable.core.replay.targets import RunTarget
from durable.postgres.transactions import AsyncTransaction, SyncTransaction

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # only for type checkers, which bring it along

T = TypeVar("T")


class MessageCalls:
    """What a ``Client`` sends to runs, and what it hears from them."""

    _operations: BeginOperations
    _connections: Connections
    _results: Results

    @overload
    def publish_event(self, run_key: RunTarget, name: Event[T], payload: T, *, key: str | None = None) -> bool: ...
    @overload
    def publish_event(self, run_key: RunTarget, name: Event[None], *, key: str | None = None) -> bool: ...
    @overload
    def publish_event(
        self, run_key: RunTarget, name: str, payload: object = None, *, key: str | None = None
    ) -> bool: ...
    def publish_event(
        self, run_key: RunTarget, name: str | Event[Any], payload: object = None, *, key: str | None = None
    ) -> bool:
        """Puts an event into the run's inbox, where it stays until a wait for that name takes it. ``name`` may be an
        ``Event``, whose type the payload must fit.

        ``key`` makes the call idempotent: of several events with the same run, name and key, only the first is stored.
        Returns ``False`` if that was another one, whatever its payload is, so that this one was ignored. If the run's
        workflow has a codec of its own, publish through the run's handle, which uses that codec.

        Raises ``RunNotFound``, ``RunTerminal``, ``InvalidArgument`` or ``SerializationError``, in which case nothing
        was stored.
        """
        event = self._operations.new_event(run_key, name, payload, key)
        return self._connections.run(self._operations.publish_event(event))

    @overload
    def publish_event_tx(
        self, tx: SyncTransaction, run_key: RunTarget, name: Event[T], payload: T, *, key: str | None = None
    ) -> bool: ...
    @overload
    def publish_event_tx(
        self, tx: SyncTransaction, run_key: RunTarget, name: Event[None], *, key: str | None = None
    ) -> bool: ...
    @overload
    def publish_event_tx(
        self, tx: SyncTransaction, run_key: RunTarget, name: str, payload: object = None, *, key: str | None = None
    ) -> bool: ...
    def publish_event_tx(
        self,
        tx: SyncTransaction,
        run_key: RunTarget,
        name: str | Event[Any],
        payload: object = None,
        *,
        key: str | None = None,
    ) -> bool:
        """Like ``publish_event``, but in the caller's transaction: the event exists only if that transaction commits.
        The run may have been begun in the same transaction. See ``begin_tx`` for ``tx``."""
        event = self._operations.new_event(run_key, name, payload, key)
        return self._connections.take_part(tx, self._operations.publish_event(event))

    @overload
    def request(
        self,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: TypeForm[T],
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> T: ...
    @overload
    def request(
        self,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any: ...
    def request(
        self,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any:
        """Asks the run for something and waits for its answer, decoded as ``type``: what the workflow gives to
        ``reply`` of the request that its ``ctx.wait_for_request`` for that name returns.

        ``key`` makes the call idempotent: asking again with the same run, name and key, whatever the payload is, asks
        nothing new and gives the same reply. ``None``: each call asks. ``timeout`` is in seconds; ``None`` waits for as
        long as it takes, and 0 looks once.

        Raises ``RequestRefused``; ``RequestTimeout``, which withdraws nothing, and whose ``key`` can be asked with
        again; ``RunEnded`` if the run ends, or has ended, without having answered; ``RunNotFound`` or
        ``DeserializationError``. If it raises ``InvalidArgument`` or ``SerializationError``, nothing was stored. If the
        run's workflow has a codec of its own, ask through the run's handle, which uses that codec.
        """
        patience = None if timeout is None else seconds("timeout", timeout)
        request = self._operations.new_ask(run_key, name, payload, key, type)
        asked = self._connections.run(self._operations.ask(request))
        return RequestHandle[Any](asked, type, codec_of(run_key), self._results).reply(patience)

    @overload
    def request_tx(
        self,
        tx: SyncTransaction,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: TypeForm[T],
        key: str | None = None,
    ) -> RequestHandle[T]: ...
    @overload
    def request_tx(
        self,
        tx: SyncTransaction,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
    ) -> RequestHandle[Any]: ...
    def request_tx(
        self,
        tx: SyncTransaction,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
    ) -> RequestHandle[Any]:
        """Asks in the caller's transaction, and only if that commits. It waits for nothing, because no run could see
        the request before: after the commit, ``reply`` of the handle does. The run may have been begun in the same
        transaction. See ``begin_tx`` for ``tx``."""
        request = self._operations.new_ask(run_key, name, payload, key, type)
        asked = self._connections.take_part(tx, self._operations.ask(request))
        return RequestHandle(asked, type, codec_of(run_key), self._results)


class AsyncMessageCalls:
    """The asyncio counterpart of ``MessageCalls``."""

    _operations: BeginOperations
    _connections: AsyncConnections
    _results: AsyncResults

    @overload
    async def publish_event(
        self, run_key: RunTarget, name: Event[T], payload: T, *, key: str | None = None
    ) -> bool: ...
    @overload
    async def publish_event(self, run_key: RunTarget, name: Event[None], *, key: str | None = None) -> bool: ...
    @overload
    async def publish_event(
        self, run_key: RunTarget, name: str, payload: object = None, *, key: str | None = None
    ) -> bool: ...
    async def publish_event(
        self, run_key: RunTarget, name: str | Event[Any], payload: object = None, *, key: str | None = None
    ) -> bool:
        """Same as ``Client.publish_event``."""
        event = self._operations.new_event(run_key, name, payload, key)
        return await self._connections.run(self._operations.publish_event(event))

    @overload
    async def publish_event_tx(
        self, tx: AsyncTransaction, run_key: RunTarget, name: Event[T], payload: T, *, key: str | None = None
    ) -> bool: ...
    @overload
    async def publish_event_tx(
        self, tx: AsyncTransaction, run_key: RunTarget, name: Event[None], *, key: str | None = None
    ) -> bool: ...
    @overload
    async def publish_event_tx(
        self, tx: AsyncTransaction, run_key: RunTarget, name: str, payload: object = None, *, key: str | None = None
    ) -> bool: ...
    async def publish_event_tx(
        self,
        tx: AsyncTransaction,
        run_key: RunTarget,
        name: str | Event[Any],
        payload: object = None,
        *,
        key: str | None = None,
    ) -> bool:
        """Same as ``Client.publish_event_tx``."""
        event = self._operations.new_event(run_key, name, payload, key)
        return await self._connections.take_part(tx, self._operations.publish_event(event))

    @overload
    async def request(
        self,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: TypeForm[T],
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> T: ...
    @overload
    async def request(
        self,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any: ...
    async def request(
        self,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any:
        """Same as ``Client.request``."""
        patience = None if timeout is None else seconds("timeout", timeout)
        request = self._operations.new_ask(run_key, name, payload, key, type)
        asked = await self._connections.run(self._operations.ask(request))
        return await AsyncRequestHandle[Any](asked, type, codec_of(run_key), self._results).reply(patience)

    @overload
    async def request_tx(
        self,
        tx: AsyncTransaction,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: TypeForm[T],
        key: str | None = None,
    ) -> AsyncRequestHandle[T]: ...
    @overload
    async def request_tx(
        self,
        tx: AsyncTransaction,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
    ) -> AsyncRequestHandle[Any]: ...
    async def request_tx(
        self,
        tx: AsyncTransaction,
        run_key: RunTarget,
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
    ) -> AsyncRequestHandle[Any]:
        """Same as ``Client.request_tx``."""
        request = self._operations.new_ask(run_key, name, payload, key, type)
        asked = await self._connections.take_part(tx, self._operations.ask(request))
        return AsyncRequestHandle(asked, type, codec_of(run_key), self._results)
