"""The composition root of a worker: starts its parts, stops them, and passes signals on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from psycopg_pool import AsyncConnectionPool

from durable.core.arguments import check_codec, truth, whole_number
from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.durations import positive, seconds
from durable.core.errors import DurableError
from durable.core.replay.workflow import Workflow
from durable.core.shards import shard_values
from durable.postgres.conninfo import check_conninfo_or_pool
from durable.postgres.opening import Pool
from durable.store.channels import work_channel
from durable.store.queries import check_schema_name
from durable.store.workers import ListeningWorker, Offer
from durable.telemetry.observer import Observer
from durable.telemetry.telling import Telling
from durable.worker.arguments import channel_name, distinct_workflows
from durable.worker.callbacks import Callbacks
from durable.worker.clock import Clock
from durable.worker.database import DEFAULT_CONNECTIONS, LEAST_CONNECTIONS, Database
from durable.worker.dispatcher import Dispatcher
from durable.worker.executions import Executions
from durable.worker.first_contact import first_contact
from durable.worker.isolation import Isolation
from durable.worker.journal import Journal
from durable.worker.lease import Lease
from durable.worker.listener import Listener
from durable.worker.parts import Parts
from durable.worker.pauses import tell_pauses
from durable.worker.scheduler import Scheduler
from durable.worker.sequels import Sequels
from durable.worker.signals import stop_signals
from durable.worker.status import State, WorkerStatus
from durable.worker.tasks import cancel_and_wait, until_stopped

_logger = logging.getLogger("durable.worker")


class Worker:
    """Claims and executes runs of the given workflows until it is stopped.

    ``poll_interval`` and ``max_poll_interval``: how long an idle worker waits before it looks for work again, at first
    and at most. With ``notify`` it learns of new work at once, and polling is only a safety net. ``lease``: a worker
    that hangs or is cut off loses its runs after this time; a killed worker loses them within about two seconds.
    ``graceful_shutdown_timeout``: how long a stopping worker lets steps finish before it cancels them. It does not wait
    longer, whatever steps do: a sync step that is still being executed goes on in its thread, and the process may end.
    ``handle_signals``: whether SIGTERM and SIGINT stop ``run``. ``max_resident``: how many parked runs stay in memory.
    ``max_threads``: how many sync steps run at once.
    ``max_strikes``: a run that has lost two workers in a row is tried apart from others; once this many workers have
    died in such trials, with no new memo in between, the run fails with ``CrashLoop``. All durations are in seconds or
    given as ``timedelta``.

    ``max_connections``: how many connections the worker opens at most, at least 6. Four are for the lease, for
    takeovers, for notifications, and for looking after connections that fell silent; of the others, up to four are for
    the engine and the rest for transaction steps. Those of a pool that is passed in come on top; transaction steps then
    use that pool alone, and the worker opens no more than eight.

    ``observer`` is told what the worker does, for metrics.

    With a pool, the worker's own connections are opened like those of the pool: with its ``conninfo``, its ``kwargs``
    and its ``connection_class``. If the first two are functions, they are called for each new connection.

    Raises ``InvalidArgument``, and ``TypeError`` if ``conninfo_or_pool`` is neither a conninfo nor an
    ``AsyncConnectionPool``.
    """

    def __init__(
        self,
        conninfo_or_pool: str | Pool,
        workflows: Iterable[Workflow[Any, Any]] | list[object] | set[object],
        *,
        schema: str = "durable",
        codec: Codec | None = None,
        poll_interval: timedelta | float = 0.25,
        max_poll_interval: timedelta | float = 30.0,
        notify: bool = True,
        notify_channel: str | None = None,
        lease: timedelta | float = 15.0,
        graceful_shutdown_timeout: timedelta | float = 30.0,
        max_resident: int = 10_000,
        max_threads: int = 64,
        max_strikes: int = 5,
        handle_signals: bool = True,
        max_connections: int = DEFAULT_CONNECTIONS,
        clock: Clock | None = None,
        observer: Observer | None = None,
    ) -> None:
        if not isinstance(conninfo_or_pool, AsyncConnectionPool):
            check_conninfo_or_pool(conninfo_or_pool, "a Worker takes a conninfo or a psycopg_pool.AsyncConnectionPool")
        self._workflows = distinct_workflows(workflows)
        self._max_resident = whole_number("max_resident", max_resident, 1)
        self._max_threads = whole_number("max_threads", max_threads, 1)
        self._max_strikes = whole_number("max_strikes", max_strikes, 1)
        self._max_connections = whole_number("max_connections", max_connections, LEAST_CONNECTIONS)
        self._conninfo_or_pool = conninfo_or_pool
        self._schema = check_schema_name(schema)
        self._clock = Clock() if clock is None else clock
        self._telling = None if observer is None else Telling(observer)
        self._codec: Codec = JsonCodec() if codec is None else codec
        check_codec(self._codec)
        self._poll_interval = positive("poll_interval", poll_interval)
        self._max_poll_interval = positive("max_poll_interval", max_poll_interval)
        self._notify = truth("notify", notify)
        self._channel = work_channel(schema) if notify_channel is None else channel_name(notify_channel)
        self._lease_seconds = positive("lease", lease)
        self._patience = seconds("graceful_shutdown_timeout", graceful_shutdown_timeout)
        self._handle_signals = truth("handle_signals", handle_signals)
        self._signals = stop_signals(self.stop)
        self._state: State = "created"
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lease: Lease | None = None
        self._listener: Listener | None = None
        self._scheduler: Scheduler | None = None
        self._executions: Executions | None = None
        self._dispatchers: dict[str, Dispatcher] = {}

    # lifecycle

    async def run(self) -> None:
        """Works until cancelled, until ``stop`` is called, or until SIGTERM or SIGINT arrives; then shuts down
        gracefully.

        Signals are handled in the main thread only, and not with ``handle_signals=False``. A handler that was there
        before is called too, and put back at the end. The same signal once more, half a second later or more, ends the
        process at once. If code blocks the event loop when a signal has arrived, so that nothing can shut down, the
        process ends after the ``graceful_shutdown_timeout`` with exit status 128 plus the number of the signal: 143
        for SIGTERM, 130 for SIGINT.

        Waits while the database is unavailable. Raises ``SchemaError`` if the schema is missing or has another version,
        and ``DurableError`` if this worker has run before or a pooler allows it no transactions.
        """
        with self._signals if self._handle_signals else nullcontext():
            await self._run()

    def stop(self) -> None:
        """Begins the graceful shutdown; ``run`` returns when it is complete."""
        self._stop.set()

    async def process_one(self) -> bool:
        """Claims at most one run and executes it until it parks, ends, or must be tried again. Returns whether there
        was one. Meant for scripts and tests; may be called any number of times on a worker that is not running
        otherwise.

        Waits while the database is unavailable. Raises ``SchemaError``, and ``DurableError`` if the worker is running.
        """
        if self._state not in ("created", "stopped"):
            raise DurableError(f"process_one needs a worker that is not running, but this one is {self._state}")
        self._state = "starting"
        try:
            async with self._connected() as (database, shard_count):
                if shard_count is None:
                    return False
                parts = self._assemble(database, shard_count)
                await parts.lease.start()
                try:
                    self._workflows.append(self._workflows.pop(0))  # no workflow starves the others
                    for workflow in self._workflows:
                        if await self._dispatchers[workflow.name].claim_one():
                            return True
                    return False
                finally:
                    await self._shut_down([], parts)
        finally:
            self._state = "created"

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            ready.cancel()
            await self._task
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()
        if self._task is not None:
            await self._task

    def ready(self) -> bool:
        """Returns whether the worker is claiming runs."""
        return self._state == "running"

    def healthy(self) -> bool:
        """Returns whether the worker is claiming runs and its heartbeat has reached the database within the lease."""
        return self.ready() and self._lease is not None and self._lease.is_held

    def status(self) -> WorkerStatus:
        """Returns what the worker is doing right now."""
        return WorkerStatus(
            worker_id=self._lease.worker_id if self._lease else None,
            state=self._state,
            active_runs=self._executions.active_runs if self._executions else 0,
            resident_runs=self._executions.resident_runs if self._executions else 0,
            is_listening=self._listener is not None and self._listener.is_connected,
            is_lease_held=self._lease is not None and self._lease.is_held,
            busy_threads=self._executions.threads.busy if self._executions else 0,
            hung_threads=self._executions.threads.hung if self._executions else 0,
            steps_awaiting_thread=self._executions.threads.awaited if self._executions else 0,
            paused_workflows=tuple(
                sorted(self._executions.paused & set(self._dispatchers) if self._executions else ())
            ),
        )

    # the parts

    async def _run(self) -> None:
        if self._state != "created":
            raise DurableError(f"a worker runs only once, and this one is {self._state}; create a new one")
        self._state = "starting"
        try:
            async with self._connected() as (database, shard_count):
                if shard_count is not None:
                    await self._work(self._assemble(database, shard_count))
        finally:
            self._state = "stopped"

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[tuple[Database, int | None]]:
        """Yields the database and its shard count, which is ``None`` if the worker was stopped before the database
        answered."""
        database = Database(self._conninfo_or_pool, self._schema, self._max_connections)
        await database.open()
        try:
            yield database, await first_contact(database, self._stop)
        finally:
            await database.close()

    def _assemble(self, database: Database, shard_count: int) -> Parts:
        sequels = Sequels(self._workflows, self._codec, lambda: lease.shard_count)
        lease = self._lease = Lease(
            database,
            {workflow.name: Offer(workflow.version, workflow.concurrency) for workflow in self._workflows},
            shard_count,
            lease=self._lease_seconds,
            max_strikes=self._max_strikes,
            lost=self._lost,
            raised=self._raised,
            reached=database.hurry,
            overdue=lambda: self._signals.overdue(self._patience),
            met=self._met,
            paused=self._hear_paused,
            is_listening=lambda: self._state == "running" and self._listener is not None and self._listener.hears_work,
            sequels=sequels,
            telling=self._telling,
        )

        callbacks = Callbacks()
        isolation = Isolation(self._clock, self._dispatchers.values())
        journal = Journal(database, callbacks, lambda: lease.worker_id, self._telling)
        executions = self._executions = Executions(
            database,
            journal,
            callbacks,
            self._clock,
            isolation,
            lambda: lease.worker_id,
            codec=self._codec,
            max_resident=self._max_resident,
            max_threads=self._max_threads,
            claimer_of=self._dispatchers.__getitem__,
            shard_count=lambda: lease.shard_count,
            max_strikes=self._max_strikes,
            sequels=sequels,
            telling=self._telling,
        )
        for workflow in self._workflows:
            self._dispatchers[workflow.name] = Dispatcher(
                workflow,
                shard_values(workflow.name, shard_count),
                database,
                executions,
                isolation,
                lambda: lease.worker_id,
                self._clock,
                poll_interval=self._poll_interval,
                max_poll_interval=self._current_max_poll_interval,
                max_strikes=self._max_strikes,
            )
        return Parts(database, lease, journal, executions)

    async def _work(self, parts: Parts) -> None:
        if not await self._started(parts.lease):
            return
        duties = [asyncio.create_task(dispatcher.run()) for dispatcher in self._dispatchers.values()]
        duties.append(asyncio.create_task(parts.lease.hold()))
        if self._notify:
            self._listener = Listener(
                parts.database,
                self._channel,
                caught_up=self._poll_all,
                gained=self._hear_more,
                notified=self._notified,
            )
            duties.append(asyncio.create_task(self._listener.run()))
        names = list(self._dispatchers)
        scheduler = self._scheduler = Scheduler(parts.database, names, self._clock, self._current_max_poll_interval)
        duties.append(asyncio.create_task(scheduler.run()))
        self._state = "running"
        self._ready.set()
        worker_id = parts.lease.worker_id
        _logger.info("worker %s started with workflows %s", worker_id, ", ".join(names), extra={"worker_id": worker_id})
        if self._telling is not None:
            self._telling.started(worker_id, names)
        try:
            await until_stopped(self._stop, duties)
        finally:
            self._state = "stopping"
            await self._shut_down(duties, parts)
            if self._telling is not None:
                self._telling.stopped(worker_id)

    async def _started(self, lease: Lease) -> bool:
        starting = asyncio.create_task(lease.start())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if starting.done():
            await starting
            return True
        starting.cancel()
        await asyncio.to_thread(lease.stop)
        return False

    async def _shut_down(self, duties: list[asyncio.Task[None]], parts: Parts) -> None:
        await cancel_and_wait(duties)
        parts.lease.announce_departure()
        await parts.executions.drain(self._patience)
        await parts.flush_in_time()
        await parts.executions.end_steps()
        asyncio.get_running_loop().call_soon(parts.executions.close)
        await asyncio.to_thread(parts.lease.stop)

    def _current_max_poll_interval(self) -> float:
        return self._max_poll_interval if self.status().is_listening else self._poll_interval

    def _poll_all(self) -> None:
        for dispatcher in self._dispatchers.values():
            dispatcher.poll()
        if self._scheduler is not None:
            self._scheduler.wake()

    def _notified(self, payload: str) -> None:
        kind, _, said = payload.partition(":")
        ticket, _, shard_value = said.partition(":") if kind == "first" else (None, "", said)
        match kind:
            case "schedule" if self._scheduler is not None:
                self._scheduler.wake()
            case "worker":
                self._poll_all()
            case "first" | "run" | "event":
                name, _, index = shard_value.rpartition("_")
                dispatcher = self._dispatchers.get(name)
                if dispatcher is not None and index.isdecimal():
                    dispatcher.work_arrived(shard_value, is_event=kind == "event", ticket=ticket)
            case _:  # sent by a later release
                pass

    def _met(self, listening: Sequence[ListeningWorker]) -> None:
        for name, dispatcher in self._dispatchers.items():
            dispatcher.precedence.know([worker.worker_id for worker in listening if name in worker.workflows])
        if self._listener is not None:
            self._listener.hear({number for each in self._dispatchers.values() for number in each.precedence.numbers()})

    def _hear_more(self, numbers: Collection[int]) -> None:
        for dispatcher in self._dispatchers.values():
            dispatcher.hear_more(numbers)

    def _lost(self) -> None:
        if self._executions is not None:
            self._executions.abandon_all()
        self._poll_all()

    def _hear_paused(self, workflows: frozenset[str]) -> None:
        if self._executions is not None:
            tell_pauses(self._executions.paused, workflows, self._dispatchers)
            self._executions.pause(workflows)
            self._poll_all()

    def _raised(self, shard_count: int) -> None:
        for dispatcher in self._dispatchers.values():
            dispatcher.raise_shards(shard_values(dispatcher.workflow.name, shard_count))
