"""What workflow code sees."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, cast, overload
from uuid import UUID

from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.durations import aware, seconds
from durable.core.errors import InvalidArgument
from durable.core.keys import check_key
from durable.core.replay.child import ChildHandle, start_child
from durable.core.replay.commands import Draw, Execute, Sleep, Transact, WaitEvent
from durable.core.replay.machine import Machine
from durable.core.replay.signatures import signature_of
from durable.core.replay.workflow import InputT, OutputT, Workflow
from durable.core.retry import RetryPolicy
from durable.core.runs import RunKey

if TYPE_CHECKING:
    from psycopg import AsyncConnection

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_ONCE_RETRIED = RetryPolicy()


class Context:
    """The durable primitives of one run.

    Every key is a non-empty string of at most 200 bytes and unique within the run; it names the memo that answers the
    call on replay. The primitives may be combined with ``asyncio.gather``, ``TaskGroup`` and the like.
    """

    __slots__ = ("_codec", "_machine", "attempt", "run_key", "scheduled_at", "version", "workflow_name")

    def __init__(
        self,
        machine: Machine,
        run_key: RunKey,
        workflow_name: str,
        version: int,
        attempt: int,
        scheduled_at: datetime | None = None,
        codec: Codec | None = None,
    ) -> None:
        self.run_key = run_key
        """The key of this run."""
        self.workflow_name = workflow_name
        self.version = version
        """The version of the workflow that the run was begun with."""
        self.attempt = attempt
        """1 on the first attempt; one more after each failed one."""
        self.scheduled_at = scheduled_at
        """The tick of the schedule that the run was begun for, aware, in UTC; ``None`` if no schedule began it."""
        self._codec = codec or JsonCodec()  # of children whose workflow has none; not that of this workflow
        self._machine = machine

    @property
    def run_id(self) -> str:
        """The run's id, a UUID's text."""
        return self.run_key.run_id

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logs with the run's key in ``extra``; silent while replaying."""
        return _ReplayAwareLogger(self)

    @property
    def is_replaying(self) -> bool:
        """Whether the code now runs through what it has already done before."""
        return self._machine.is_replaying

    @overload
    async def execute(
        self, key: str, fn: Callable[[*Ts], Awaitable[T]], /, *args: *Ts, retry: RetryPolicy | None = None
    ) -> T: ...
    @overload
    async def execute(self, key: str, fn: Callable[[*Ts], T], /, *args: *Ts, retry: RetryPolicy | None = None) -> T: ...
    async def execute(  # type: ignore[misc]  # mypy does not see that *args takes *Ts
        self, key: str, fn: Callable[..., object], /, *args: Any, retry: RetryPolicy | None = None
    ) -> object:
        """Runs ``fn(*args)`` at least once and, once it has returned, never again; sync functions run in a thread.

        Returns what a replay would return: the value after one trip through the codec, as the function's return
        annotation declares it. Raises ``StepFailed`` when the retries are used up (the same on every replay), and
        ``DuplicateKey``, ``InvalidArgument`` or ``SerializationError`` before anything is run.
        """
        signature = signature_of(fn)
        call = Execute(check_key("key", key), fn, args, retry or _ONCE_RETRIED, signature)
        return await self._machine.call(call)

    async def transaction(
        self,
        key: str,
        fn: Callable[[AsyncConnection[Any], *Ts], Awaitable[T]],
        /,
        *args: *Ts,
        retry: RetryPolicy | None = None,
    ) -> T:
        """Runs ``fn(tx, *args)`` in one transaction that also stores the memo: exactly once on this database.

        ``tx`` is an ``AsyncConnection`` in an open transaction; the engine commits it. Raises as ``execute`` does.
        """
        signature = signature_of(fn)
        if not signature.is_async:
            raise InvalidArgument(
                "fn", signature.name, "an `async def` that takes the transaction as its first parameter"
            )
        call = Transact(check_key("key", key), fn, args, retry or _ONCE_RETRIED, signature)
        return cast(T, await self._machine.call(call))

    async def sleep(self, key: str, duration: timedelta | float) -> None:
        """Sleeps that long (seconds) by the database's clock, through crashes and deploys. The worker is freed."""
        await self._machine.call(Sleep(check_key("key", key), seconds("duration", duration)))

    async def sleep_until(self, key: str, moment: datetime) -> None:
        """Sleeps until an aware datetime by the database's clock; not at all if it has passed."""
        await self._machine.call(Sleep(check_key("key", key), 0.0, aware("moment", moment)))

    @overload
    async def wait_for_event(
        self, key: str, event_name: str, type: type[T], *, timeout: timedelta | float | None = None
    ) -> T: ...
    @overload
    async def wait_for_event(
        self, key: str, event_name: str, type: Any = Any, *, timeout: timedelta | float | None = None
    ) -> Any: ...
    async def wait_for_event(
        self, key: str, event_name: str, type: Any = Any, *, timeout: timedelta | float | None = None
    ) -> Any:
        """Takes the oldest event of that name published to this run, also one published before the wait.

        Raises ``EventTimeout`` after ``timeout`` seconds by the database's clock (``None``: waits for ever), and
        ``DeserializationError`` if the payload does not fit ``type``.
        """
        call = WaitEvent(
            check_key("key", key),
            check_key("event_name", event_name),
            type,
            None if timeout is None else seconds("timeout", timeout),
        )
        return await self._machine.call(call)

    @overload
    async def run_child(self, key: str, wf: Workflow[None, OutputT], input: None = None) -> OutputT: ...
    @overload
    async def run_child(self, key: str, wf: Workflow[InputT, OutputT], input: InputT) -> OutputT: ...
    async def run_child(self, key: str, wf: Workflow[Any, OutputT], input: object = None) -> OutputT:
        """Begins a run of another workflow, or of the same, and waits for its output, parked: ``start_child`` and
        ``result`` in one. Any worker that has the workflow executes it.

        If this await is cancelled, so is the child. When this run fails or is terminated, the child goes on. A retry of
        this run begins a failed or cancelled child anew and keeps the result of a completed one.
        """
        handle: ChildHandle[OutputT] = await start_child(self._machine, self._codec, key, wf, input)
        return await handle.only_result()

    @overload
    async def start_child(self, key: str, wf: Workflow[None, OutputT], input: None = None) -> ChildHandle[OutputT]: ...
    @overload
    async def start_child(self, key: str, wf: Workflow[InputT, OutputT], input: InputT) -> ChildHandle[OutputT]: ...
    async def start_child(self, key: str, wf: Workflow[Any, OutputT], input: object = None) -> ChildHandle[OutputT]:
        """Begins a child once, in the transaction that records it, and does not wait for it; it goes on whatever
        becomes of this run. ``key`` also takes ``"<key>:result"``, so it may have at most 193 bytes.

        Raises ``InvalidArgument``, ``SerializationError`` or ``DuplicateKey`` before anything is stored.
        """
        return await start_child(self._machine, self._codec, key, wf, input)

    async def random_uuid7(self, key: str) -> UUID:
        """A time-ordered UUID, the same for the same key: the idempotency key for outside effects."""
        return cast(UUID, await self._machine.call(Draw(check_key("key", key), "random_uuid7")))

    async def random_uint64(self, key: str) -> int:
        """A random integer in [0, 2**64), the same for the same key, from the system's secure source."""
        return cast(int, await self._machine.call(Draw(check_key("key", key), "random_uint64")))

    async def random(self, key: str) -> float:
        """A random float in [0, 1), the same for the same key."""
        return cast(float, await self._machine.call(Draw(check_key("key", key), "random")))

    async def now(self, key: str) -> datetime:
        """The time by the database's clock, aware, in UTC, the same for the same key."""
        return cast(datetime, await self._machine.call(Draw(check_key("key", key), "now")))


class _ReplayAwareLogger(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, ctx: Context) -> None:
        super().__init__(logging.getLogger("durable.workflow"), {"run_key": str(ctx.run_key)})
        self._ctx = ctx

    def isEnabledFor(self, level: int) -> bool:
        return not self._ctx.is_replaying and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs
