"""A handle: one run, as the application that began it sees it, or the newest run with a key."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from durable.client.request_handles import AsyncRequestHandle, RequestHandle
from durable.client.requests import Asked, begun_with
from durable.client.results import AsyncResults, Results
from durable.core.codec.json_codec import Codec
from durable.core.durations import seconds
from durable.core.events import Event
from durable.core.replay.targets import Keyed
from durable.core.runs import RunInfo, RunKey

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # only for type checkers, which bring it along

OutputT = TypeVar("OutputT")
T = TypeVar("T")


class _Calls(Generic[OutputT]):
    """What a handle of either kind can do."""

    def __init__(self, target: RunKey | Keyed, output_type: Any, codec: Codec | None, results: Results) -> None:
        self._target = target
        self._output_type = output_type
        self._codec = codec
        self._results = results
        self._connections = results.connections
        self._operations = results.operations

    def info(self) -> RunInfo:
        """Returns the current state of the run. Raises ``RunNotFound``."""
        return self._connections.run(self._operations.run_info(self._target, self._codec))

    def _outcome(self, run_key: RunKey, timeout: timedelta | float | None) -> OutputT:
        outcome = self._results.outcome(run_key, None if timeout is None else seconds("timeout", timeout))
        result: OutputT = self._operations.result(run_key, outcome, self._output_type, self._codec)
        return result

    @overload
    def publish_event(self, name: Event[T], payload: T, *, key: str | None = None) -> bool: ...
    @overload
    def publish_event(self, name: Event[None], *, key: str | None = None) -> bool: ...
    @overload
    def publish_event(self, name: str, payload: object = None, *, key: str | None = None) -> bool: ...
    def publish_event(self, name: str | Event[Any], payload: object = None, *, key: str | None = None) -> bool:
        """Same as ``Client.publish_event``, for this run."""
        event = self._operations.new_event(self._target, name, payload, key, self._codec)
        return self._connections.run(self._operations.publish_event(event))

    def cancel(self, reason: str | None = None) -> None:
        """Same as ``Client.cancel_run``, for this run."""
        request = self._operations.new_request(self._target, "cancel", reason)
        self._connections.run(self._operations.request_end(request))

    def terminate(self, reason: str | None = None) -> None:
        """Same as ``Client.terminate_run``, for this run."""
        request = self._operations.new_request(self._target, "terminate", reason)
        self._connections.run(self._operations.request_end(request))

    def pause(self, reason: str | None = None) -> None:
        """Same as ``Client.pause_run``, for this run."""
        request = self._operations.new_request(self._target, "pause", reason)
        self._connections.run(self._operations.request_pause(request))

    def resume(self) -> None:
        """Same as ``Client.resume_run``, for this run."""
        request = self._operations.new_request(self._target, "resume")
        self._connections.run(self._operations.request_resume(request))

    def reschedule(
        self, *, at: datetime | None = None, delay: timedelta | float | None = None, sleeps: bool = False
    ) -> None:
        """Same as ``Client.reschedule_run``, for this run."""
        request = self._operations.new_reschedule(self._target, at, delay, sleeps=sleeps)
        self._connections.run(self._operations.request_reschedule(request))

    def retry(self) -> None:
        """Same as ``Client.retry_run``, for this run."""
        request = self._operations.new_request(self._target, "retry")
        self._connections.run(self._operations.request_retry(request))

    @overload
    def request(
        self,
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
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any: ...
    def request(
        self,
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any:
        """Same as ``Client.request``, for this run."""
        patience = None if timeout is None else seconds("timeout", timeout)
        request = self._operations.new_ask(self._target, name, payload, key, type, self._codec)
        asked = self._connections.run(self._operations.ask(request))
        return RequestHandle[Any](asked, type, self._codec, self._results).reply(patience)


class Handle(_Calls[OutputT]):
    """A handle of one run, made by ``Client.begin`` and ``Client.handle``. It can be used until its client is
    closed."""

    def __init__(
        self,
        run_key: RunKey,
        is_new: bool,  # noqa: FBT001 - always passed by name or by the client
        output_type: Any,
        codec: Codec | None,
        results: Results,
        asked: Asked | None = None,
    ) -> None:
        super().__init__(run_key, output_type, codec, results)
        self._asked = asked
        self.run_key = run_key
        """Identifies the run everywhere; its text, ``str(run_key)``, can be stored."""
        self.is_new = is_new
        """False if the run already existed: after ``begin`` with the key of an earlier run, and after
        ``Client.handle``."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of run {self.run_key}>"

    def result(self, timeout: timedelta | float | None = None) -> OutputT:
        """Waits until the run has ended and returns its output, decoded as the workflow's return annotation declares.

        ``timeout`` is in seconds; ``None`` waits for as long as it takes, and 0 looks once. Raises ``RunFailed``,
        ``RunCancelled``, ``ResultTimeout`` (the run continues), ``RunNotFound`` or ``DeserializationError``. A lost
        connection is replaced; ``psycopg_pool.PoolTimeout`` is raised if the database stays unavailable.
        """
        return self._outcome(self.run_key, timeout)

    @overload
    def reply(self, type: TypeForm[T], *, timeout: timedelta | float | None = None) -> T: ...
    @overload
    def reply(self, type: Any = Any, *, timeout: timedelta | float | None = None) -> Any: ...
    def reply(self, type: Any = Any, *, timeout: timedelta | float | None = None) -> Any:
        """Waits for the reply to the request that ``begin`` has made of the run, decoded as ``type``. Raises the same
        errors as ``Client.request``, and ``InvalidArgument`` if there is none."""
        asked = begun_with(self._asked)
        return RequestHandle[Any](asked, type, self._codec, self._results).reply(timeout)


class KeyHandle(_Calls[OutputT]):
    """A handle of the newest run with a workflow and key, made by ``Client.handle``, which asks the database nothing.
    Each call is about the run that is the newest at that moment, but for ``result``, which stays with the run that it
    has found the first time. Every call raises ``RunNotFound`` as long as there is no such run."""

    def __init__(self, keyed: Keyed, output_type: Any, codec: Codec | None, results: Results) -> None:
        super().__init__(keyed, output_type, codec, results)
        self.workflow_name = keyed.workflow_name
        """The name of the workflow."""
        self.key = keyed.key
        """The key with which the run was begun."""
        self._awaited: RunKey | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of the newest run {self._target}>"

    def run_key(self) -> RunKey:
        """Returns the run key of the newest run. Raises ``RunNotFound``."""
        return self._connections.run(self._operations.locate(self._target))

    def result(self, timeout: timedelta | float | None = None) -> OutputT:
        """Same as ``Handle.result``, for the run that is the newest at the first call."""
        if self._awaited is None:
            self._awaited = self.run_key()
        return self._outcome(self._awaited, timeout)


class _AsyncCalls(Generic[OutputT]):
    """What a handle of either kind can do."""

    def __init__(self, target: RunKey | Keyed, output_type: Any, codec: Codec | None, results: AsyncResults) -> None:
        self._target = target
        self._output_type = output_type
        self._codec = codec
        self._results = results
        self._connections = results.connections
        self._operations = results.operations

    async def info(self) -> RunInfo:
        """Same as ``Handle.info``."""
        return await self._connections.run(self._operations.run_info(self._target, self._codec))

    async def _outcome(self, run_key: RunKey, timeout: timedelta | float | None) -> OutputT:
        outcome = await self._results.outcome(run_key, None if timeout is None else seconds("timeout", timeout))
        result: OutputT = self._operations.result(run_key, outcome, self._output_type, self._codec)
        return result

    @overload
    async def publish_event(self, name: Event[T], payload: T, *, key: str | None = None) -> bool: ...
    @overload
    async def publish_event(self, name: Event[None], *, key: str | None = None) -> bool: ...
    @overload
    async def publish_event(self, name: str, payload: object = None, *, key: str | None = None) -> bool: ...
    async def publish_event(self, name: str | Event[Any], payload: object = None, *, key: str | None = None) -> bool:
        """Same as ``Handle.publish_event``."""
        event = self._operations.new_event(self._target, name, payload, key, self._codec)
        return await self._connections.run(self._operations.publish_event(event))

    async def cancel(self, reason: str | None = None) -> None:
        """Same as ``Handle.cancel``."""
        request = self._operations.new_request(self._target, "cancel", reason)
        await self._connections.run(self._operations.request_end(request))

    async def terminate(self, reason: str | None = None) -> None:
        """Same as ``Handle.terminate``."""
        request = self._operations.new_request(self._target, "terminate", reason)
        await self._connections.run(self._operations.request_end(request))

    async def pause(self, reason: str | None = None) -> None:
        """Same as ``Handle.pause``."""
        request = self._operations.new_request(self._target, "pause", reason)
        await self._connections.run(self._operations.request_pause(request))

    async def resume(self) -> None:
        """Same as ``Handle.resume``."""
        request = self._operations.new_request(self._target, "resume")
        await self._connections.run(self._operations.request_resume(request))

    async def reschedule(
        self, *, at: datetime | None = None, delay: timedelta | float | None = None, sleeps: bool = False
    ) -> None:
        """Same as ``Handle.reschedule``."""
        request = self._operations.new_reschedule(self._target, at, delay, sleeps=sleeps)
        await self._connections.run(self._operations.request_reschedule(request))

    async def retry(self) -> None:
        """Same as ``Handle.retry``."""
        request = self._operations.new_request(self._target, "retry")
        await self._connections.run(self._operations.request_retry(request))

    @overload
    async def request(
        self,
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
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any: ...
    async def request(
        self,
        name: str,
        payload: object = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any:
        """Same as ``Handle.request``."""
        patience = None if timeout is None else seconds("timeout", timeout)
        request = self._operations.new_ask(self._target, name, payload, key, type, self._codec)
        asked = await self._connections.run(self._operations.ask(request))
        return await AsyncRequestHandle[Any](asked, type, self._codec, self._results).reply(patience)


class AsyncHandle(_AsyncCalls[OutputT]):
    """The asyncio counterpart of ``Handle``."""

    def __init__(
        self,
        run_key: RunKey,
        is_new: bool,  # noqa: FBT001 - always passed by name or by the client
        output_type: Any,
        codec: Codec | None,
        results: AsyncResults,
        asked: Asked | None = None,
    ) -> None:
        super().__init__(run_key, output_type, codec, results)
        self._asked = asked
        self.run_key = run_key
        """Same as ``Handle.run_key``."""
        self.is_new = is_new
        """Same as ``Handle.is_new``."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of run {self.run_key}>"

    async def result(self, timeout: timedelta | float | None = None) -> OutputT:
        """Same as ``Handle.result``. Any number of tasks may wait at once; they share one connection."""
        return await self._outcome(self.run_key, timeout)

    @overload
    async def reply(self, type: TypeForm[T], *, timeout: timedelta | float | None = None) -> T: ...
    @overload
    async def reply(self, type: Any = Any, *, timeout: timedelta | float | None = None) -> Any: ...
    async def reply(self, type: Any = Any, *, timeout: timedelta | float | None = None) -> Any:
        """Same as ``Handle.reply``."""
        asked = begun_with(self._asked)
        return await AsyncRequestHandle[Any](asked, type, self._codec, self._results).reply(timeout)


class AsyncKeyHandle(_AsyncCalls[OutputT]):
    """The asyncio counterpart of ``KeyHandle``."""

    def __init__(self, keyed: Keyed, output_type: Any, codec: Codec | None, results: AsyncResults) -> None:
        super().__init__(keyed, output_type, codec, results)
        self.workflow_name = keyed.workflow_name
        """The name of the workflow."""
        self.key = keyed.key
        """The key with which the run was begun."""
        self._awaited: RunKey | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of the newest run {self._target}>"

    async def run_key(self) -> RunKey:
        """Same as ``KeyHandle.run_key``."""
        return await self._connections.run(self._operations.locate(self._target))

    async def result(self, timeout: timedelta | float | None = None) -> OutputT:
        """Same as ``KeyHandle.result``."""
        if self._awaited is None:
            self._awaited = await self.run_key()
        return await self._outcome(self._awaited, timeout)
