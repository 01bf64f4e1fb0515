"""What synchronous applications use: to begin runs and schedules, to say something to runs, to look at them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from durable.client.connections import Connections, SyncPool
from durable.client.handles import Handle
from durable.client.operations import BeginOptions, Begun, Operations, check_run_key
from durable.client.results import Results
from durable.client.schedules import ScheduleInfo, ScheduleOperations, ScheduleOptions
from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.replay.workflow import InputT, OutputT, Workflow
from durable.core.runs import Run, RunInfo, RunKey, Status
from durable.core.schedules.expressions import Schedule
from durable.postgres.transactions import SyncTransaction

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
        self._operations = Operations(JsonCodec() if codec is None else codec)
        self._connections = Connections(conninfo_or_pool, schema)
        self._schedules = ScheduleOperations(self._operations)
        self._results = Results(self._connections, self._operations)

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
        self, wf: Workflow[None, OutputT], input: None = None, **options: Unpack[BeginOptions]
    ) -> Handle[OutputT]: ...
    @overload
    def begin(
        self, wf: Workflow[InputT, OutputT], input: InputT, **options: Unpack[BeginOptions]
    ) -> Handle[OutputT]: ...
    def begin(self, wf: Workflow[Any, Any], input: Any = None, **options: Unpack[BeginOptions]) -> Handle[Any]:
        """Begins a run; once this returns, the run reaches a terminal state whatever dies.

        The keywords are those of ``BeginOptions``: ``key`` (then ``handle.is_new`` tells whether the run is new),
        ``delay`` or ``at``, ``priority``, ``tags``. Raises, with nothing stored, ``InvalidArgument`` and
        ``SerializationError``.
        """
        new = self._operations.new_run(wf, input, **options)
        return self._begun(wf, self._connections.run(self._operations.begin(new)))

    @overload
    def begin_tx(
        self, tx: SyncTransaction, wf: Workflow[None, Any], input: None = None, **options: Unpack[BeginOptions]
    ) -> RunKey: ...
    @overload
    def begin_tx(
        self, tx: SyncTransaction, wf: Workflow[InputT, Any], input: InputT, **options: Unpack[BeginOptions]
    ) -> RunKey: ...
    def begin_tx(
        self, tx: SyncTransaction, wf: Workflow[Any, Any], input: Any = None, **options: Unpack[BeginOptions]
    ) -> RunKey:
        """As ``begin``, in the caller's transaction: no commit, no run. ``handle(run_key, wf)`` awaits it afterwards.

        ``tx`` is a psycopg ``Connection`` or ``Cursor``, SQLAlchemy's ``Connection`` or ``Session``, or Django's
        connection (``AsyncClient``: psycopg's ``AsyncConnection`` or ``AsyncCursor``, SQLAlchemy's ``AsyncConnection``
        or ``AsyncSession``, or asyncpg's ``Connection``); any other object raises ``TypeError``.
        """
        new = self._operations.new_run(wf, input, **options)
        return self._connections.take_part(tx, self._operations.begin(new)).run_key

    def begin_many(self, wf: Workflow[InputT, Any], inputs: Iterable[InputT]) -> list[RunKey]:
        """Begins a run for each input in one transaction, all or none; the keys are in the order of the inputs."""
        new = self._operations.new_runs(wf, inputs)
        return self._connections.transact(self._operations.begin_many(new))

    def publish_event(
        self, run_key: RunKey | str, name: str, payload: object = None, *, key: str | None = None
    ) -> None:
        """Puts an event into the run's inbox, where it stays until a wait for that name takes it.

        ``key`` makes it idempotent: of events with the same run, name and key only the first is stored, silently.
        To a run whose workflow has a codec of its own, publish by its handle, which knows it.
        Raises, with nothing stored, ``RunNotFound``, ``RunTerminal``, ``InvalidArgument`` and ``SerializationError``.
        """
        event = self._operations.new_event(run_key, name, payload, key)
        self._connections.run(self._operations.publish_event(event))

    def publish_event_tx(
        self, tx: SyncTransaction, run_key: RunKey | str, name: str, payload: object = None, *, key: str | None = None
    ) -> None:
        """As ``publish_event``, in the caller's transaction: no commit, no event. A run begun in the same transaction
        can be published to. ``tx`` as in ``begin_tx``."""
        event = self._operations.new_event(run_key, name, payload, key)
        self._connections.take_part(tx, self._operations.publish_event(event))

    def cancel_run(self, run_key: RunKey | str, reason: str | None = None) -> None:
        """Asks for the end of the run: its workflow gets ``CancelledError`` at what it awaits, an async step that runs
        too, and it may clean up, with further steps if need be. However it ends then, the run is ``cancelled``. One
        that was never started ends without that. Returns before it is done; asking twice is as asking once.

        Raises, with nothing stored, ``RunNotFound``, ``RunNotCancellable`` (it has ended) and ``InvalidArgument``.
        """
        request = self._operations.new_request(run_key, "cancel", reason)
        self._connections.run(self._operations.request_end(request))

    def cancel_run_tx(self, tx: SyncTransaction, run_key: RunKey | str, reason: str | None = None) -> None:
        """As ``cancel_run``, in the caller's transaction: no commit, no cancel. ``tx`` as in ``begin_tx``."""
        request = self._operations.new_request(run_key, "cancel", reason)
        self._connections.take_part(tx, self._operations.request_end(request))

    def terminate_run(self, run_key: RunKey | str, reason: str | None = None) -> None:
        """As ``cancel_run``, without a clean-up: nothing more of the workflow is executed."""
        request = self._operations.new_request(run_key, "terminate", reason)
        self._connections.run(self._operations.request_end(request))

    def terminate_run_tx(self, tx: SyncTransaction, run_key: RunKey | str, reason: str | None = None) -> None:
        """As ``terminate_run``, in the caller's transaction. ``tx`` as in ``begin_tx``."""
        request = self._operations.new_request(run_key, "terminate", reason)
        self._connections.take_part(tx, self._operations.request_end(request))

    def retry_run(self, run_key: RunKey | str) -> None:
        """Lets a failed or cancelled run go on from its memos, without a deadline: finished steps are kept, failed ones
        are tried anew.

        Raises, with nothing stored, ``RunNotFound``, ``RunNotRetryable`` and ``InvalidArgument``.
        """
        request = self._operations.new_request(run_key, "retry")
        self._connections.run(self._operations.request_retry(request))

    def retry_run_tx(self, tx: SyncTransaction, run_key: RunKey | str) -> None:
        """As ``retry_run``, in the caller's transaction. ``tx`` as in ``begin_tx``."""
        request = self._operations.new_request(run_key, "retry")
        self._connections.take_part(tx, self._operations.request_retry(request))

    def schedule(
        self,
        wf: Workflow[InputT, Any],
        input: InputT,
        schedule_id: str | None,
        schedule: Schedule | str,
        **options: Unpack[ScheduleOptions],
    ) -> bool:
        """Begins runs by the clock from now on: ``schedule`` is ``Cron("0 9 * * 1-5")``, ``Every(…)`` or the text of
        one. Each tick begins one run, however many workers look; the first is the first one from now, and
        ``ctx.scheduled_at`` is the tick.

        Returns whether the schedule is new. One of that id (``None``: the workflow's name) is changed, which keeps its
        pause, and its next tick unless schedule, time zone or bounds are others. The keywords are those of
        ``ScheduleOptions``: ``timezone``, ``catch_up``, ``overlap``, ``jitter``, ``run_now``, ``start``, ``end``.

        Raises, with nothing stored, ``InvalidArgument``, also for what would never fire, and ``SerializationError``.
        """
        request = self._schedules.new_schedule(wf, input, schedule_id, schedule, **options)
        return self._connections.transact(self._schedules.schedule(request))

    def schedule_tx(
        self,
        tx: SyncTransaction,
        wf: Workflow[InputT, Any],
        input: InputT,
        schedule_id: str | None,
        schedule: Schedule | str,
        **options: Unpack[ScheduleOptions],
    ) -> bool:
        """As ``schedule``, in the caller's transaction: no commit, no schedule. ``tx`` as in ``begin_tx``."""
        request = self._schedules.new_schedule(wf, input, schedule_id, schedule, **options)
        return self._connections.take_part(tx, self._schedules.schedule(request))

    def pause_schedule(self, schedule_id: str) -> None:
        """Begins no run until the schedule is resumed. Raises ``ScheduleNotFound``."""
        self._connections.transact(self._schedules.pause(schedule_id))

    def pause_schedule_tx(self, tx: SyncTransaction, schedule_id: str) -> None:
        """As ``pause_schedule``, in the caller's transaction. ``tx`` as in ``begin_tx``."""
        self._connections.take_part(tx, self._schedules.pause(schedule_id))

    def resume_schedule(self, schedule_id: str) -> None:
        """Goes on with the next tick from now; ticks of the pause are not made up for. Raises ``ScheduleNotFound``."""
        self._connections.transact(self._schedules.resume(schedule_id))

    def resume_schedule_tx(self, tx: SyncTransaction, schedule_id: str) -> None:
        """As ``resume_schedule``, in the caller's transaction. ``tx`` as in ``begin_tx``."""
        self._connections.take_part(tx, self._schedules.resume(schedule_id))

    def delete_schedule(self, schedule_id: str) -> None:
        """Forgets the schedule; its runs stay. Raises ``ScheduleNotFound``."""
        self._connections.transact(self._schedules.delete(schedule_id))

    def delete_schedule_tx(self, tx: SyncTransaction, schedule_id: str) -> None:
        """As ``delete_schedule``, in the caller's transaction. ``tx`` as in ``begin_tx``."""
        self._connections.take_part(tx, self._schedules.delete(schedule_id))

    def list_schedules(self) -> list[ScheduleInfo]:
        """All schedules, by id."""
        return self._connections.transact(self._schedules.statuses())

    def list_schedules_tx(self, tx: SyncTransaction) -> list[ScheduleInfo]:
        """As ``list_schedules``, in the caller's transaction. ``tx`` as in ``begin_tx``."""
        return self._connections.take_part(tx, self._schedules.statuses())

    def trigger_schedule(self, schedule_id: str) -> RunKey:
        """Begins a run of the schedule now, beside its ticks, also while it is paused. Raises ``ScheduleNotFound``."""
        run_id = self._schedules.new_run_id()
        return self._connections.transact(self._schedules.trigger(schedule_id, run_id))

    def trigger_schedule_tx(self, tx: SyncTransaction, schedule_id: str) -> RunKey:
        """As ``trigger_schedule``, in the caller's transaction. ``tx`` as in ``begin_tx``."""
        return self._connections.take_part(tx, self._schedules.trigger(schedule_id, self._schedules.new_run_id()))

    def backfill_schedule(self, schedule_id: str, start: datetime, end: datetime) -> list[RunKey]:
        """Begins a run for every tick from ``start`` to ``end``, both aware and past, that has none yet; returns the
        keys of all of them, oldest first, at most 10,000. Raises ``ScheduleNotFound`` and ``InvalidArgument``.
        """
        return self._connections.transact(self._schedules.backfill(schedule_id, start, end))

    def backfill_schedule_tx(
        self, tx: SyncTransaction, schedule_id: str, start: datetime, end: datetime
    ) -> list[RunKey]:
        """As ``backfill_schedule``, in the caller's transaction. ``tx`` as in ``begin_tx``."""
        return self._connections.take_part(tx, self._schedules.backfill(schedule_id, start, end))

    def get_run_info(self, run_key: RunKey | str) -> RunInfo:
        """Where the run stands now. Raises ``RunNotFound``."""
        checked = check_run_key("run_key", run_key)
        return self._connections.run(self._operations.run_info(checked))

    def get_run_info_tx(self, tx: SyncTransaction, run_key: RunKey | str) -> RunInfo:
        """As ``get_run_info``, as the caller's transaction sees it. ``tx`` as in ``begin_tx``."""
        return self._connections.take_part(tx, self._operations.run_info(check_run_key("run_key", run_key)))

    @overload
    def get_run_output(self, run_key: RunKey | str, type: type[T]) -> T: ...
    @overload
    def get_run_output(self, run_key: RunKey | str, type: Any = Any) -> Any: ...
    def get_run_output(self, run_key: RunKey | str, type: Any = Any) -> Any:
        """The output of a completed run, decoded as ``type``. Does not wait.

        Raises ``RunNotFound``, ``RunNotCompleted`` (also for runs that failed) and ``DeserializationError``.
        """
        checked = check_run_key("run_key", run_key)
        return self._connections.run(self._operations.run_output(checked, type))

    @overload
    def get_run_output_tx(self, tx: SyncTransaction, run_key: RunKey | str, type: type[T]) -> T: ...
    @overload
    def get_run_output_tx(self, tx: SyncTransaction, run_key: RunKey | str, type: Any = Any) -> Any: ...
    def get_run_output_tx(self, tx: SyncTransaction, run_key: RunKey | str, type: Any = Any) -> Any:
        """As ``get_run_output``, as the caller's transaction sees it. ``tx`` as in ``begin_tx``."""
        return self._connections.take_part(tx, self._operations.run_output(check_run_key("run_key", run_key), type))

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
        return self._connections.run(query(workflow, status, limit, before))

    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: Workflow[Any, OutputT]) -> Handle[OutputT]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: type[T]) -> Handle[T]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: Any = Any) -> Handle[Any]: ...
    def handle(self, run_key: RunKey | str, wf_or_type: Any = Any) -> Handle[Any]:
        """A handle of a run begun elsewhere, its output read as the workflow declares it or as that type. Does not ask
        whether the run exists."""
        is_workflow = isinstance(wf_or_type, Workflow)
        output_type = wf_or_type.output_type if is_workflow else wf_or_type
        codec = wf_or_type.codec if is_workflow else None
        return Handle(check_run_key("run_key", run_key), False, output_type, codec, self._results)

    def _begun(self, wf: Workflow[Any, Any], begun: Begun) -> Handle[Any]:
        return Handle(begun.run_key, begun.is_new, wf.output_type, wf.codec, self._results)
