"""What workflow code sees."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Never, ParamSpec, TypeVar, Unpack, cast, overload
from uuid import UUID

from durable.core.arguments import truth
from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.durations import aware, seconds
from durable.core.errors import InvalidArgument
from durable.core.keys import check_key
from durable.core.replay.chapters import next_chapter
from durable.core.replay.child import ChildHandle, start_child
from durable.core.replay.commands import Draw, Execute, Sleep, Transact
from durable.core.replay.logger import ReplayAwareLogger
from durable.core.replay.machine import Machine
from durable.core.replay.mapping import MapResult, map_items
from durable.core.replay.messages import Messages
from durable.core.replay.saga import Saga
from durable.core.replay.signatures import signature_of
from durable.core.replay.step_call import Call, step_call
from durable.core.replay.timeout import Timeout
from durable.core.replay.workflow import InputT, OutputT, Workflow
from durable.core.run_options import NOTHING_GIVEN, Given, RunOptions
from durable.core.runs import RunKey

if TYPE_CHECKING:
    from psycopg import AsyncConnection

T = TypeVar("T")
P = ParamSpec("P")
ItemT = TypeVar("ItemT")

_NOT_GIVEN: Any = object()


class Context(Messages):
    """The durable primitives of one run.

    Every key is a non-empty string of at most 200 bytes and unique within the run; it names the memo that answers the
    call on replay. The primitives may be combined with ``asyncio.gather``, ``TaskGroup`` and the like.
    """

    __slots__ = (
        "_given",
        "_workflow",
        "attempt",
        "chapter",
        "max_attempts",
        "run_key",
        "scheduled_at",
        "version",
        "workflow_name",
    )

    def __init__(
        self,
        machine: Machine,
        run_key: RunKey,
        workflow_name: str,
        version: int,
        attempt: int,
        scheduled_at: datetime | None = None,
        codec: Codec | None = None,
        given: Given = NOTHING_GIVEN,
        max_attempts: int = 1,
        workflow: Workflow[Any, Any] | None = None,
        chapter: int = 1,
    ) -> None:
        self.run_key = run_key
        """The key of this run."""
        self.workflow_name = workflow_name
        self.version = version
        """The version of the workflow that the run was begun with."""
        self.attempt = attempt
        """1 on the first attempt, and one more after each failed attempt; each chapter starts over at 1."""
        self.max_attempts = max_attempts
        """How many attempts the workflow's ``RunRetryPolicy`` allows, as the code says now. ``attempt`` exceeds it once
        ``retry_run`` has been called."""
        self.chapter = chapter
        """1 at first, and one more each time the run continues as new."""
        self.scheduled_at = scheduled_at
        """The tick of the schedule that the run was begun for, aware, in UTC; ``None`` if no schedule began it."""
        super().__init__(machine, codec or JsonCodec())
        self._given = given
        self._workflow = workflow

    @property
    def is_last_attempt(self) -> bool:
        """Whether the run fails for good if this attempt does."""
        return self.attempt >= self.max_attempts

    @property
    def tags(self) -> dict[str, str]:
        """A copy of the tags that the run was begun with; empty if there are none."""
        return self._given.tags

    @property
    def headers(self) -> dict[str, str]:
        """A copy of the headers that the run was begun with, or has inherited from its parent; empty if there are
        none."""
        return self._given.headers

    @property
    def run_id(self) -> str:
        """The run's id: the text of a UUID."""
        return self.run_key.run_id

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that adds the run's key as ``extra`` and is silent while replaying."""
        return ReplayAwareLogger(self._machine, self.run_key)

    @property
    def is_replaying(self) -> bool:
        """Whether the code is currently going through what it has already done before."""
        return self._machine.is_replaying

    def set_status(self, value: object) -> None:
        """Shows the outside how far the run is: ``handle.info().detail`` is the value that was set last, also after the
        run has ended or was retried. It is written along with whatever the run records next, or as soon as it waits,
        and not again on replay.

        Raises ``SerializationError`` for a value that cannot be stored or takes more than 64 KiB.
        """
        self._machine.set_status(value)

    @overload
    async def execute(
        self, key: str | Call, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def execute(self, key: str | Call, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def execute(self, key: str | Call, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> object:
        """Runs ``fn(*args, **kwargs)`` at least once and, once it has returned, never again. Sync functions run in a
        thread. ``Call("key", retry=…)`` in the place of the key has options of the call.

        Returns what a replay would return: the value after a round trip through the codec, as the function's return
        annotation declares it. Context variables have the values in ``fn`` that they have at the call; what ``fn`` sets
        is not seen outside. Raises ``StepFailed`` when the retries are used up (the same error on every replay), and
        ``DuplicateKey``, ``InvalidArgument`` or ``SerializationError`` before anything is run.
        """
        return await self._machine.call(step_call(Execute, key, fn, args, kwargs, signature_of(fn)))

    async def transaction(
        self,
        key: str | Call,
        fn: Callable[Concatenate[AsyncConnection[Any], P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Runs ``fn(tx, *args, **kwargs)`` in one transaction that also stores the memo: exactly once on this database.

        ``tx`` is an ``AsyncConnection`` in an open transaction; the engine commits it. Raises the same errors as
        ``execute``.
        """
        signature = signature_of(fn)
        if not signature.is_async:
            raise InvalidArgument(
                "fn", signature.name, "an `async def` that takes the transaction as its first parameter"
            )
        if isinstance(key, Call) and key.at_most_once:
            raise InvalidArgument("at_most_once", True, "False for a transaction, which happens exactly once anyway")
        return cast(T, await self._machine.call(step_call(Transact, key, fn, args, kwargs, signature)))

    @overload
    async def map(
        self,
        key: str | Call,
        fn: Callable[[ItemT], Awaitable[T]],
        items: Iterable[ItemT],
        *,
        max_concurrency: int | None = None,
    ) -> list[T]: ...
    @overload
    async def map(
        self, key: str | Call, fn: Callable[[ItemT], T], items: Iterable[ItemT], *, max_concurrency: int | None = None
    ) -> list[T]: ...
    @overload
    async def map(
        self,
        key: str | Call,
        fn: Callable[[ItemT], Awaitable[T]],
        items: Iterable[ItemT],
        *,
        max_concurrency: int | None = None,
        max_failures: int | None,
    ) -> MapResult[T]: ...
    @overload
    async def map(
        self,
        key: str | Call,
        fn: Callable[[ItemT], T],
        items: Iterable[ItemT],
        *,
        max_concurrency: int | None = None,
        max_failures: int | None,
    ) -> MapResult[T]: ...
    async def map(
        self,
        key: str | Call,
        fn: Callable[..., object],
        items: Iterable[Any],
        *,
        max_concurrency: int | None = None,
        max_failures: int | None = _NOT_GIVEN,
    ) -> Any:
        """Runs the step ``fn(item)`` for each item, under the keys ``key[0]``, ``key[1]`` …, and returns the results in
        the order of the items, which must be the same on each replay. At most ``max_concurrency`` steps run at once
        (``None``: all); the next one starts as soon as any ends.

        Without ``max_failures``, none may fail. If it is given, a ``MapResult`` is returned, and at most that many may
        fail (``None``: any number). Above that no other step starts, those under way finish, and ``MapFailed`` is
        raised. A retry of the run calls those that failed or were not called.
        """
        least = 0 if max_failures is _NOT_GIVEN else max_failures
        result = await map_items(self._machine, key, fn, items, max_concurrency, least)
        return result.outcomes if max_failures is _NOT_GIVEN else result

    def saga(self) -> Saga:
        """Undoes what a block has done if it does not end well: ``async with ctx.saga() as saga:``. Inside,
        ``saga.undo`` registers compensations.

        If the block raises, by a cancel or a timeout as well, they are called in reverse order, each as a step, and
        none is interrupted by a cancel. Then the block raises what it has raised; errors of compensations are raised
        together as an ``ExceptionGroup`` instead, from the original. A run that is terminated undoes nothing.
        """
        return Saga(self._machine)

    def patched(self, key: str) -> bool:
        """Returns whether this run goes the new way at a place where the code was changed: False if code from before
        the change may have passed this place in it. May be asked any number of times; what is said first is recorded
        for the run and stays the same, through retries too. Once no run needs the old way, the question can be removed.

        ``DuplicateKey`` is raised if the key names a call.
        """
        return self._machine.patched(check_key("key", key))

    async def sleep(self, key: str, duration: timedelta | float) -> None:
        """Sleeps for ``duration`` (a ``timedelta`` or seconds) by the database's clock, across crashes and deployments.
        The run does not occupy the worker meanwhile."""
        await self._machine.call(Sleep(check_key("key", key), seconds("duration", duration)))

    async def sleep_until(self, key: str, moment: datetime) -> None:
        """Sleeps until an aware datetime by the database's clock, or not at all if it has passed."""
        await self._machine.call(Sleep(check_key("key", key), 0.0, aware("moment", moment)))

    def timeout(self, key: str, duration: timedelta | float) -> Timeout:
        """Limits the time that a block takes: ``async with ctx.timeout("payment", 3600):``. ``duration`` is a
        ``timedelta`` or seconds, counted by the database's clock from when the block is entered, across crashes and
        deployments.

        When the time is over, whatever the block awaits is canceled, steps and children too, and the block raises
        ``TimeoutError``; on every replay it does so at the same place. It works like ``asyncio.timeout``, which is
        durable too, but whose key is its number among all timers of the run. A retry of the run gives the block its
        time again.
        """
        return Timeout(self._machine, check_key("key", key), seconds("duration", duration))

    @overload
    async def run_child(
        self,
        key: str,
        wf: Workflow[None, OutputT],
        input: None = None,
        *,
        abandon: bool = False,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...
    @overload
    async def run_child(
        self,
        key: str,
        wf: Workflow[InputT, OutputT],
        input: InputT,
        *,
        abandon: bool = False,
        **options: Unpack[RunOptions],
    ) -> OutputT: ...
    async def run_child(
        self,
        key: str,
        wf: Workflow[Any, OutputT],
        input: object = None,
        *,
        abandon: bool = False,
        **options: Unpack[RunOptions],
    ) -> OutputT:
        """Begins a run of another workflow, or of the same one, and waits for its output while parked: ``start_child``
        and ``result`` in one. Any worker that has the workflow may execute the child.

        The keywords are those of ``start_child``; a child that takes longer than ``timeout`` is cancelled and fails
        with ``RunTimeout``. If this await is cancelled, so is the child. If this run is cancelled, all children that it
        awaits by ``run_child`` are cancelled first, in whatever task: this run gets its ``CancelledError`` once they
        have ended, clean-up included, and does nothing meanwhile. With ``abandon=True``, it does not wait for this
        child. If this run fails or is terminated, the child continues. A retry of this run begins a failed or cancelled
        child from scratch and keeps the result of a completed one.
        """
        is_held = not truth("abandon", abandon)
        handle = await start_child(self._machine, self._codec, self._given, key, wf, input, **options)
        return await handle.only_result(is_held=is_held)

    @overload
    async def start_child(
        self, key: str, wf: Workflow[None, OutputT], input: None = None, **options: Unpack[RunOptions]
    ) -> ChildHandle[OutputT]: ...
    @overload
    async def start_child(
        self, key: str, wf: Workflow[InputT, OutputT], input: InputT, **options: Unpack[RunOptions]
    ) -> ChildHandle[OutputT]: ...
    async def start_child(
        self, key: str, wf: Workflow[Any, OutputT], input: object = None, **options: Unpack[RunOptions]
    ) -> ChildHandle[OutputT]:
        """Begins a child once, in the transaction that records it, and does not wait for it. The child continues
        whatever happens to this run. The call also uses the key ``"<key>:result"``, so ``key`` may have at most 193
        bytes.

        The keywords are those of ``RunOptions``: ``delay`` or ``at``, ``priority``, ``tags``, ``timeout`` and
        ``headers``, which are added to those of this run. Only the call that begins the child reads them. Raises
        ``InvalidArgument``, ``SerializationError`` or ``DuplicateKey`` before anything is stored.
        """
        return await start_child(self._machine, self._codec, self._given, key, wf, input, **options)

    async def continue_as_new(self, input: object = None) -> Never:
        """Ends this chapter of the run and has the workflow begin again with another input: the way for a run that
        never ends to forget its memos, which every replay goes through.

        It stays the same run: its key, tags and schedule, its parent's wait, handles, and events that it has not read
        are kept. The next chapter begins with the code that is deployed then, ``ctx.chapter`` is one more, the count
        of attempts starts over, and the workflow's timeout begins again. What other tasks of the run wait for is
        dropped, and compensations that are registered are not called.

        Raises ``InvalidArgument`` or ``SerializationError`` for an input that the workflow could not read, and
        ``WorkflowCodeError`` after the run was cancelled.
        """
        await self._machine.continue_as_new(next_chapter(self._workflow, input, self._codec, self.run_id))
        raise AssertionError("a run that continues as new does not come back")

    async def random_uuid7(self, key: str) -> UUID:
        """Returns a time-ordered UUID, the same one for the same key. Use it as the idempotency key for external
        effects."""
        return cast(UUID, await self._machine.draw(Draw(check_key("key", key), "random_uuid7")))

    async def random_uint64(self, key: str) -> int:
        """Returns a random integer in [0, 2**64), the same for the same key, from the system's secure source."""
        return cast(int, await self._machine.draw(Draw(check_key("key", key), "random_uint64")))

    async def random(self, key: str) -> float:
        """Returns a random float in [0, 1), the same for the same key."""
        return cast(float, await self._machine.draw(Draw(check_key("key", key), "random")))

    async def now(self, key: str) -> datetime:
        """Returns the time by the database's clock, aware and in UTC, the same for the same key."""
        return cast(datetime, await self._machine.draw(Draw(check_key("key", key), "now")))
