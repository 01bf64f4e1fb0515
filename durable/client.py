"""What applications use to begin runs, to publish events to them, and to look at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from durable.connections import AsyncConnections, AsyncPool, Connections, SyncPool
from durable.core.codec import Codec, JsonCodec
from durable.core.runs import Run, RunKey, RunStatus, Status
from durable.core.workflow import InputT, OutputT, Workflow
from durable.drive import run, run_async
from durable.handle import AsyncHandle, Handle
from durable.operations import Begun, Operations, check_run_key
from durable.outcomes import AsyncOutcomes, Outcomes
from durable.tx import AsyncTransaction, SyncTransaction

T = TypeVar("T")


class Client:
    """For synchronous code; thread-safe. ``AsyncClient`` has the same methods.

    Takes a conninfo, of which it makes a small pool at the first call, or the caller's ``ConnectionPool``, which stays
    the caller's to open and close. ``schema`` and ``codec`` must be those of the workers; ``codec=None`` is JSON.

    ``x(…)`` commits by itself and survives one lost connection; ``x_tx(tx, …)`` uses the caller's transaction and never
    ends it. Every method may raise ``SchemaError``, and psycopg's errors where the database is away.
    """

    def __init__(
        self, conninfo_or_pool: str | SyncPool, *, schema: str = "durable", codec: Codec | None = None
    ) -> None:
        self._operations = Operations(schema, JsonCodec() if codec is None else codec)
        self._connections = Connections(conninfo_or_pool)
        self._outcomes = Outcomes(self._connections, self._operations)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the client's own pool; a pool that was given stays open. Nothing else can be called afterwards."""
        self._connections.close()

    @overload
    def begin(
        self,
        wf: Workflow[None, OutputT],
        input: None = None,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> Handle[OutputT]: ...
    @overload
    def begin(
        self,
        wf: Workflow[InputT, OutputT],
        input: InputT,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> Handle[OutputT]: ...
    def begin(
        self,
        wf: Workflow[Any, Any],
        input: Any = None,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> Handle[Any]:
        """Begins a run; once this returns, the run reaches a terminal state whatever dies.

        ``key`` makes it idempotent for as long as the first run is kept: the same workflow and key give the same run,
        whatever the other arguments, and ``handle.created`` tells which it was. ``delay`` (seconds or ``timedelta``) or
        ``at`` (aware) is when it starts at the earliest, by the database's clock; not both. Higher ``priority`` goes
        first, -32768 to 32767. At most 64 ``tags``, seen in ``list_runs``.

        Raises, with nothing stored, ``InvalidArgument`` and ``SerializationError``.
        """
        new = self._operations.new_run(wf, input, key=key, delay=delay, at=at, priority=priority, tags=tags)
        return self._begun(wf, self._connections.run(lambda: self._operations.begin(new)))

    @overload
    def begin_tx(
        self,
        tx: SyncTransaction,
        wf: Workflow[None, Any],
        input: None = None,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> RunKey: ...
    @overload
    def begin_tx(
        self,
        tx: SyncTransaction,
        wf: Workflow[InputT, Any],
        input: InputT,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> RunKey: ...
    def begin_tx(
        self,
        tx: SyncTransaction,
        wf: Workflow[Any, Any],
        input: Any = None,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> RunKey:
        """As ``begin``, in the caller's transaction: no commit, no run. ``handle(run_key, wf)`` awaits it afterwards.

        ``tx`` is a psycopg ``Connection`` or ``Cursor`` (``AsyncClient``: ``AsyncConnection``, ``AsyncCursor``); any
        other object raises ``TypeError``.
        """
        new = self._operations.new_run(wf, input, key=key, delay=delay, at=at, priority=priority, tags=tags)
        return run(tx, self._operations.begin(new)).run_key

    def begin_many(self, wf: Workflow[InputT, Any], inputs: Iterable[InputT]) -> list[RunKey]:
        """Begins a run for each input in one transaction, all or none; the keys are in the order of the inputs."""
        new = self._operations.new_runs(wf, inputs)
        return self._connections.transact(lambda: self._operations.begin_many(new))

    def publish_event(
        self, run_key: RunKey | str, name: str, payload: object = None, *, key: str | None = None
    ) -> None:
        """Puts an event into the run's inbox, where it stays until a wait for that name takes it.

        ``key`` makes it idempotent: of events with the same run, name and key only the first is stored, silently.
        Raises, with nothing stored, ``RunNotFound``, ``RunTerminal``, ``InvalidArgument`` and ``SerializationError``.
        """
        event = self._operations.new_event(run_key, name, payload, key)
        self._connections.run(lambda: self._operations.publish_event(event))

    def publish_event_tx(
        self, tx: SyncTransaction, run_key: RunKey | str, name: str, payload: object = None, *, key: str | None = None
    ) -> None:
        """As ``publish_event``, in the caller's transaction: no commit, no event. A run begun in the same transaction
        can be published to. ``tx`` as in ``begin_tx``."""
        event = self._operations.new_event(run_key, name, payload, key)
        run(tx, self._operations.publish_event(event))

    def cancel_run(self, run_key: RunKey | str, reason: str | None = None) -> None:
        """Asks for the end of the run: its workflow gets ``CancelledError`` at what it awaits, an async step that runs
        too, and it may clean up, with further steps if need be. However it ends then, the run is ``cancelled``. One
        that was never started ends without that. Returns before it is done; asking twice is as asking once.

        Raises, with nothing stored, ``RunNotFound``, ``RunNotCancellable`` (it has ended) and ``InvalidArgument``.
        """
        request = self._operations.new_request(run_key, "cancel", reason)
        self._connections.run(lambda: self._operations.request_end(request))

    def cancel_run_tx(self, tx: SyncTransaction, run_key: RunKey | str, reason: str | None = None) -> None:
        """As ``cancel_run``, in the caller's transaction: no commit, no cancel. ``tx`` as in ``begin_tx``."""
        request = self._operations.new_request(run_key, "cancel", reason)
        run(tx, self._operations.request_end(request))

    def terminate_run(self, run_key: RunKey | str, reason: str | None = None) -> None:
        """As ``cancel_run``, without a clean-up: nothing more of the workflow is executed."""
        request = self._operations.new_request(run_key, "terminate", reason)
        self._connections.run(lambda: self._operations.request_end(request))

    def terminate_run_tx(self, tx: SyncTransaction, run_key: RunKey | str, reason: str | None = None) -> None:
        """As ``terminate_run``, in the caller's transaction. ``tx`` as in ``begin_tx``."""
        request = self._operations.new_request(run_key, "terminate", reason)
        run(tx, self._operations.request_end(request))

    def retry_run(self, run_key: RunKey | str) -> None:
        """Lets a failed or cancelled run go on from its memos, without a deadline: finished steps are kept, failed ones
        are tried anew.

        Raises, with nothing stored, ``RunNotFound``, ``RunNotRetryable`` and ``InvalidArgument``.
        """
        request = self._operations.new_request(run_key, "retry")
        self._connections.run(lambda: self._operations.request_retry(request))

    def retry_run_tx(self, tx: SyncTransaction, run_key: RunKey | str) -> None:
        """As ``retry_run``, in the caller's transaction. ``tx`` as in ``begin_tx``."""
        request = self._operations.new_request(run_key, "retry")
        run(tx, self._operations.request_retry(request))

    def get_run_status(self, run_key: RunKey | str) -> RunStatus:
        """Where the run stands now. Raises ``RunNotFound``."""
        checked = check_run_key("run_key", run_key)
        return self._connections.run(lambda: self._operations.run_status(checked))

    @overload
    def get_run_output(self, run_key: RunKey | str, type: type[T]) -> T: ...
    @overload
    def get_run_output(self, run_key: RunKey | str, type: Any = Any) -> Any: ...
    def get_run_output(self, run_key: RunKey | str, type: Any = Any) -> Any:
        """The output of a completed run, decoded as ``type``. Does not wait.

        Raises ``RunNotFound``, ``RunNotCompleted`` (also for runs that failed) and ``DeserializationError``.
        """
        checked = check_run_key("run_key", run_key)
        return self._connections.run(lambda: self._operations.run_output(checked, type))

    def list_runs(
        self,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        status: Status | None = None,
        limit: int = 100,
        before: RunKey | str | None = None,
    ) -> list[Run]:
        """The newest runs first, without their payloads, at most ``limit`` (1 to 10,000).

        ``before`` is the last run of the previous page: only older ones are listed. For people, not for hot paths: the
        cost grows with the number of runs kept. Raises ``InvalidArgument``, and ``RunNotFound`` if ``before`` is gone.
        """
        query = self._operations.list_runs
        return self._connections.run(lambda: query(workflow, status, limit, before))

    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: Workflow[Any, OutputT]) -> Handle[OutputT]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: type[T]) -> Handle[T]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: Any = Any) -> Handle[Any]: ...
    def handle(self, run_key: RunKey | str, wf_or_type: Any = Any) -> Handle[Any]:
        """A handle of a run begun elsewhere, its output read as the workflow declares it or as that type. Does not ask
        whether the run exists."""
        output_type = wf_or_type.output_type if isinstance(wf_or_type, Workflow) else wf_or_type
        return Handle(check_run_key("run_key", run_key), False, output_type, self._outcomes)

    def _begun(self, wf: Workflow[Any, Any], begun: Begun) -> Handle[Any]:
        return Handle(begun.run_key, begun.created, wf.output_type, self._outcomes)


class AsyncClient:
    """As ``Client``, for asyncio: the same methods, awaited. Belongs to one event loop."""

    def __init__(
        self, conninfo_or_pool: str | AsyncPool, *, schema: str = "durable", codec: Codec | None = None
    ) -> None:
        self._operations = Operations(schema, JsonCodec() if codec is None else codec)
        self._connections = AsyncConnections(conninfo_or_pool)
        self._outcomes = AsyncOutcomes(self._connections, self._operations)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As ``Client.close``. Whoever still awaits a result gets a ``DurableError``."""
        await self._outcomes.close()
        await self._connections.close()

    @overload
    async def begin(
        self,
        wf: Workflow[None, OutputT],
        input: None = None,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> AsyncHandle[OutputT]: ...
    @overload
    async def begin(
        self,
        wf: Workflow[InputT, OutputT],
        input: InputT,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> AsyncHandle[OutputT]: ...
    async def begin(
        self,
        wf: Workflow[Any, Any],
        input: Any = None,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> AsyncHandle[Any]:
        """As ``Client.begin``."""
        new = self._operations.new_run(wf, input, key=key, delay=delay, at=at, priority=priority, tags=tags)
        return self._begun(wf, await self._connections.run(lambda: self._operations.begin(new)))

    @overload
    async def begin_tx(
        self,
        tx: AsyncTransaction,
        wf: Workflow[None, Any],
        input: None = None,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> RunKey: ...
    @overload
    async def begin_tx(
        self,
        tx: AsyncTransaction,
        wf: Workflow[InputT, Any],
        input: InputT,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> RunKey: ...
    async def begin_tx(
        self,
        tx: AsyncTransaction,
        wf: Workflow[Any, Any],
        input: Any = None,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> RunKey:
        """As ``Client.begin_tx``."""
        new = self._operations.new_run(wf, input, key=key, delay=delay, at=at, priority=priority, tags=tags)
        return (await run_async(tx, self._operations.begin(new))).run_key

    async def begin_many(self, wf: Workflow[InputT, Any], inputs: Iterable[InputT]) -> list[RunKey]:
        """As ``Client.begin_many``."""
        new = self._operations.new_runs(wf, inputs)
        return await self._connections.transact(lambda: self._operations.begin_many(new))

    async def publish_event(
        self, run_key: RunKey | str, name: str, payload: object = None, *, key: str | None = None
    ) -> None:
        """As ``Client.publish_event``."""
        event = self._operations.new_event(run_key, name, payload, key)
        await self._connections.run(lambda: self._operations.publish_event(event))

    async def publish_event_tx(
        self, tx: AsyncTransaction, run_key: RunKey | str, name: str, payload: object = None, *, key: str | None = None
    ) -> None:
        """As ``Client.publish_event_tx``."""
        event = self._operations.new_event(run_key, name, payload, key)
        await run_async(tx, self._operations.publish_event(event))

    async def cancel_run(self, run_key: RunKey | str, reason: str | None = None) -> None:
        """As ``Client.cancel_run``."""
        request = self._operations.new_request(run_key, "cancel", reason)
        await self._connections.run(lambda: self._operations.request_end(request))

    async def cancel_run_tx(self, tx: AsyncTransaction, run_key: RunKey | str, reason: str | None = None) -> None:
        """As ``Client.cancel_run_tx``."""
        request = self._operations.new_request(run_key, "cancel", reason)
        await run_async(tx, self._operations.request_end(request))

    async def terminate_run(self, run_key: RunKey | str, reason: str | None = None) -> None:
        """As ``Client.terminate_run``."""
        request = self._operations.new_request(run_key, "terminate", reason)
        await self._connections.run(lambda: self._operations.request_end(request))

    async def terminate_run_tx(self, tx: AsyncTransaction, run_key: RunKey | str, reason: str | None = None) -> None:
        """As ``Client.terminate_run_tx``."""
        request = self._operations.new_request(run_key, "terminate", reason)
        await run_async(tx, self._operations.request_end(request))

    async def retry_run(self, run_key: RunKey | str) -> None:
        """As ``Client.retry_run``."""
        request = self._operations.new_request(run_key, "retry")
        await self._connections.run(lambda: self._operations.request_retry(request))

    async def retry_run_tx(self, tx: AsyncTransaction, run_key: RunKey | str) -> None:
        """As ``Client.retry_run_tx``."""
        request = self._operations.new_request(run_key, "retry")
        await run_async(tx, self._operations.request_retry(request))

    async def get_run_status(self, run_key: RunKey | str) -> RunStatus:
        """As ``Client.get_run_status``."""
        checked = check_run_key("run_key", run_key)
        return await self._connections.run(lambda: self._operations.run_status(checked))

    @overload
    async def get_run_output(self, run_key: RunKey | str, type: type[T]) -> T: ...
    @overload
    async def get_run_output(self, run_key: RunKey | str, type: Any = Any) -> Any: ...
    async def get_run_output(self, run_key: RunKey | str, type: Any = Any) -> Any:
        """As ``Client.get_run_output``."""
        checked = check_run_key("run_key", run_key)
        return await self._connections.run(lambda: self._operations.run_output(checked, type))

    async def list_runs(
        self,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        status: Status | None = None,
        limit: int = 100,
        before: RunKey | str | None = None,
    ) -> list[Run]:
        """As ``Client.list_runs``."""
        query = self._operations.list_runs
        return await self._connections.run(lambda: query(workflow, status, limit, before))

    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: Workflow[Any, OutputT]) -> AsyncHandle[OutputT]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: type[T]) -> AsyncHandle[T]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: Any = Any) -> AsyncHandle[Any]: ...
    def handle(self, run_key: RunKey | str, wf_or_type: Any = Any) -> AsyncHandle[Any]:
        """As ``Client.handle``; not awaited, since it asks nothing."""
        output_type = wf_or_type.output_type if isinstance(wf_or_type, Workflow) else wf_or_type
        return AsyncHandle(check_run_key("run_key", run_key), False, output_type, self._outcomes)

    def _begun(self, wf: Workflow[Any, Any], begun: Begun) -> AsyncHandle[Any]:
        return AsyncHandle(begun.run_key, begun.created, wf.output_type, self._outcomes)
