"""The synchronous client: begins runs and schedules, sends events and requests to runs, and inspects them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from durable.client.beginnings import Begin, BeginOptions
from durable.client.begins import BeginOperations, Begun, ShardsAreRaised
from durable.client.connections import Connections, SyncPool
from durable.client.handles import Handle, KeyHandle
from durable.client.looking import LookingCalls
from durable.client.messages import MessageCalls
from durable.client.new_begins import NewBegin
from durable.client.results import Results
from durable.client.schedules import ScheduleInfo, ScheduleOperations, ScheduleOptions
from durable.client.steering import SteeringCalls
from durable.client.targets import declared_output
from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.replay.targets import Keyed, RunTarget, check_target
from durable.core.replay.workflow import InputT, OutputT, Workflow
from durable.core.run_options import RunOptions
from durable.core.runs import Run, RunInfo, RunKey, Status
from durable.core.schedules.expressions import Schedule
from durable.postgres.transactions import SyncTransaction
from durable.store.operation import Operation

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # only for type checkers, which bring it along

T = TypeVar("T")


class Client(MessageCalls, SteeringCalls, LookingCalls):
    """The client for synchronous code; thread-safe. ``AsyncClient`` has the same methods as coroutines.

    Takes either a conninfo, from which it makes a small pool of its own on the first call (and again in a forked
    process), or the caller's ``ConnectionPool``, which the caller opens and closes. ``schema`` and ``codec`` must be
    the same as the workers'; ``codec=None`` means JSON.

    With ``notify=False`` nothing is announced, so that a transaction with ``_tx`` calls can be prepared for a two-phase
    commit, which Postgres refuses after a NOTIFY; workers then find the work by polling, at the latest after their
    ``max_poll_interval``.

    Wherever a run key is taken, ``(workflow, key)`` may be given instead: it means the newest run that was begun with
    that key.

    A method ``x(…)`` commits on its own and survives a lost connection. Its counterpart ``x_tx(tx, …)`` works in the
    caller's transaction and never ends it. Every method may raise ``SchemaError``, and psycopg's errors if the database
    is unavailable.
    """

    def __init__(
        self,
        conninfo_or_pool: str | SyncPool,
        *,
        schema: str = "durable",
        codec: Codec | None = None,
        notify: bool = True,
    ) -> None:
        self._operations = BeginOperations(JsonCodec() if codec is None else codec, notify=notify)
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
        """Closes the client's own pool; a pool passed in by the caller stays open. No other method may be called
        afterwards."""
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
        """Begins a run. Once this returns, the run will reach a terminal state, no matter which process or machine
        fails.

        The keywords are those of ``BeginOptions``: ``key`` (``handle.is_new`` then says whether the run is new),
        ``if_active``, ``if_ended``, ``event`` or ``request``, ``delay`` or ``at``, ``priority``, ``tags``, ``timeout``
        and ``headers``. Raises ``InvalidArgument``, ``SerializationError`` or ``RunExists``, in which case nothing was
        stored.
        """
        new = self._operations.new_run(wf, input, **options)
        return self._begun(wf, self._begin(new))

    def _begin(self, new: NewBegin) -> Begun:
        if new.is_plain:
            try:
                return self._connections.run(self._operations.begin(new, is_transaction=False))
            except ShardsAreRaised:
                pass
        return self._connections.transact(self._operations.begin(new, is_transaction=True))

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
        """Like ``begin``, but in the caller's transaction: the run exists only if that transaction commits. Afterwards,
        ``handle(run_key, wf)`` gives a handle to wait for it.

        ``tx`` is a psycopg ``Connection`` or ``Cursor``, an SQLAlchemy ``Connection`` or ``Session``, or a Django
        connection. For ``AsyncClient`` it is a psycopg ``AsyncConnection`` or ``AsyncCursor``, an SQLAlchemy
        ``AsyncConnection`` or ``AsyncSession``, or an asyncpg ``Connection``. Any other object raises ``TypeError``.
        """
        new = self._operations.new_run(wf, input, **options)
        return self._connections.take_part(tx, self._operations.begin(new, is_transaction=True)).run_key

    def begin_many(
        self, wf: Workflow[InputT, Any], inputs: Iterable[InputT | Begin[InputT]], **options: Unpack[RunOptions]
    ) -> list[RunKey]:
        """Begins one run per input in a single transaction, all or none. Returns their keys in the order of the inputs.

        The keywords are those of ``RunOptions`` and apply to all runs: ``delay`` or ``at``, ``priority``, ``tags``,
        ``timeout`` and ``headers``. An input that is a ``Begin`` has options of its own, all those of ``BeginOptions``,
        which come before these. Raises ``InvalidArgument``, ``SerializationError`` or ``RunExists``, in which case
        nothing was stored.
        """
        new = self._operations.new_runs(wf, inputs, **options)
        return self._connections.transact(self._operations.begin_many(new))

    def schedule(
        self,
        wf: Workflow[InputT, Any],
        input: InputT,
        schedule_id: str | None,
        schedule: Schedule | str,
        **options: Unpack[ScheduleOptions],
    ) -> bool:
        """Begins runs by the clock from now on. ``schedule`` is ``Cron("0 9 * * 1-5")``, ``Every(…)``, or the text of
        either. Each tick begins one run, however many workers there are; the first tick is the first one after now. The
        run sees its tick as ``ctx.scheduled_at``.

        Returns whether the schedule is new. If one with this ``schedule_id`` already exists (``None`` means the
        workflow's name), it is changed: it stays paused if it was paused, and it keeps its next tick unless the
        schedule, the time zone or the bounds differ. The keywords are those of ``ScheduleOptions``: ``timezone``,
        ``catch_up``, ``overlap``, ``jitter``, ``run_now``, ``start`` and ``end``, and, for each run,
        ``priority``, ``tags``, ``timeout`` and ``headers``.

        Raises ``InvalidArgument`` (also for a schedule that would never fire) or ``SerializationError``, in which case
        nothing was stored.
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
        """Like ``schedule``, but in the caller's transaction: nothing is scheduled unless that transaction commits. See
        ``begin_tx`` for ``tx``."""
        request = self._schedules.new_schedule(wf, input, schedule_id, schedule, **options)
        return self._connections.take_part(tx, self._schedules.schedule(request))

    def pause_schedule(self, schedule_id: str) -> None:
        """Pauses a schedule: it begins no runs until it is resumed. Raises ``ScheduleNotFound``."""
        self._connections.transact(self._schedules.pause(schedule_id))

    def pause_schedule_tx(self, tx: SyncTransaction, schedule_id: str) -> None:
        """Like ``pause_schedule``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        self._connections.take_part(tx, self._schedules.pause(schedule_id))

    def resume_schedule(self, schedule_id: str) -> None:
        """Resumes a schedule with the first tick after now; ticks missed during the pause are not made up for. Raises
        ``ScheduleNotFound``."""
        self._connections.transact(self._schedules.resume(schedule_id))

    def resume_schedule_tx(self, tx: SyncTransaction, schedule_id: str) -> None:
        """Like ``resume_schedule``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        self._connections.take_part(tx, self._schedules.resume(schedule_id))

    def delete_schedule(self, schedule_id: str) -> None:
        """Deletes a schedule; the runs it has begun stay. Raises ``ScheduleNotFound``."""
        self._connections.transact(self._schedules.delete(schedule_id))

    def delete_schedule_tx(self, tx: SyncTransaction, schedule_id: str) -> None:
        """Like ``delete_schedule``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        self._connections.take_part(tx, self._schedules.delete(schedule_id))

    def list_schedules(self) -> list[ScheduleInfo]:
        """Returns all schedules, ordered by id."""
        return self._connections.transact(self._schedules.statuses())

    def list_schedules_tx(self, tx: SyncTransaction) -> list[ScheduleInfo]:
        """Like ``list_schedules``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        return self._connections.take_part(tx, self._schedules.statuses())

    def trigger_schedule(self, schedule_id: str) -> RunKey:
        """Begins a run of the schedule now, in addition to its ticks, even while it is paused. Raises
        ``ScheduleNotFound``."""
        run_id = self._schedules.new_run_id()
        return self._connections.transact(self._schedules.trigger(schedule_id, run_id))

    def trigger_schedule_tx(self, tx: SyncTransaction, schedule_id: str) -> RunKey:
        """Like ``trigger_schedule``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        return self._connections.take_part(tx, self._schedules.trigger(schedule_id, self._schedules.new_run_id()))

    def backfill_schedule(self, schedule_id: str, start: datetime, end: datetime) -> list[RunKey]:
        """Begins a run for every tick from ``start`` to ``end`` that has none yet. Both must be aware datetimes and in
        the past, with at most 10,000 ticks between them.

        Returns the keys of the runs of all these ticks, oldest first. Raises ``ScheduleNotFound`` or
        ``InvalidArgument``.
        """
        return self._connections.transact(self._schedules.backfill(schedule_id, start, end))

    def backfill_schedule_tx(
        self, tx: SyncTransaction, schedule_id: str, start: datetime, end: datetime
    ) -> list[RunKey]:
        """Like ``backfill_schedule``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        return self._connections.take_part(tx, self._schedules.backfill(schedule_id, start, end))

    def get_run_info(self, run_key: RunTarget) -> RunInfo:
        """Returns the current state of the run. Raises ``RunNotFound``."""
        return self._connections.run(self._run_info(run_key))

    def get_run_info_tx(self, tx: SyncTransaction, run_key: RunTarget) -> RunInfo:
        """Like ``get_run_info``, but as the caller's transaction sees the run. See ``begin_tx`` for ``tx``."""
        return self._connections.take_part(tx, self._run_info(run_key))

    @overload
    def get_run_output(self, run_key: tuple[Workflow[Any, OutputT], str]) -> OutputT: ...
    @overload
    def get_run_output(self, run_key: RunTarget, type: TypeForm[T]) -> T: ...
    @overload
    def get_run_output(self, run_key: RunTarget, type: Any = Any) -> Any: ...
    def get_run_output(self, run_key: RunTarget, type: Any = Any) -> Any:
        """Returns the output of a completed run, decoded as ``type``. Does not wait.

        Raises ``RunNotFound``, ``RunNotCompleted`` (also if the run failed) or ``DeserializationError``.
        """
        return self._connections.run(self._run_output(run_key, type))

    @overload
    def get_run_output_tx(self, tx: SyncTransaction, run_key: tuple[Workflow[Any, OutputT], str]) -> OutputT: ...
    @overload
    def get_run_output_tx(self, tx: SyncTransaction, run_key: RunTarget, type: TypeForm[T]) -> T: ...
    @overload
    def get_run_output_tx(self, tx: SyncTransaction, run_key: RunTarget, type: Any = Any) -> Any: ...
    def get_run_output_tx(self, tx: SyncTransaction, run_key: RunTarget, type: Any = Any) -> Any:
        """Like ``get_run_output``, but as the caller's transaction sees the run. See ``begin_tx`` for ``tx``."""
        return self._connections.take_part(tx, self._run_output(run_key, type))

    def list_runs(
        self,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        key: str | None = None,
        status: Status | None = None,
        limit: int = 100,
        before: RunTarget | None = None,
    ) -> list[Run]:
        """Lists runs without their payloads, newest first, at most ``limit`` (1 to 10,000) of them. ``workflow``,
        ``key`` and ``status`` restrict the list; ``None`` means no restriction.

        ``before`` is the last run of the previous page: only older runs are listed. This is meant for people and not
        for hot paths, because its cost grows with the number of runs kept. Raises ``InvalidArgument``, and
        ``RunNotFound`` if ``before`` no longer exists.
        """
        query = self._operations.list_runs
        return self._connections.run(query(workflow, status, limit, before, key))

    @overload
    def handle(self, run_key: Workflow[Any, OutputT], *, key: str) -> KeyHandle[OutputT]: ...
    @overload
    def handle(self, run_key: tuple[Workflow[Any, OutputT], str]) -> KeyHandle[OutputT]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: Workflow[Any, OutputT]) -> Handle[OutputT]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: TypeForm[T]) -> Handle[T]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: Any = Any) -> Handle[Any]: ...
    def handle(self, run_key: Any, wf_or_type: Any = Any, *, key: str | None = None) -> Handle[Any] | KeyHandle[Any]:
        """Returns a handle of a run that was begun elsewhere. Its output is decoded as the workflow declares it, or as
        the given type. With a workflow and a ``key``, it is a handle of the newest run that was begun with them; that
        call also takes a pair, ``(workflow, key)``. Does not check whether the run exists."""
        named = run_key if key is None else (run_key, key)
        target = check_target("run_key", named)
        output_type, codec = declared_output(named, wf_or_type)
        if isinstance(target, Keyed):
            return KeyHandle(target, output_type, codec, self._results)
        return Handle(target, False, output_type, codec, self._results)

    def _begun(self, wf: Workflow[Any, Any], begun: Begun) -> Handle[Any]:
        return Handle(begun.run_key, begun.is_new, wf.output_type, wf.codec, self._results, begun.asked)

    def _run_info(self, run: RunTarget) -> Operation[RunInfo]:
        return self._operations.run_info(check_target("run_key", run), declared_output(run, Any)[1])

    def _run_output(self, run: RunTarget, type: Any) -> Operation[Any]:
        output_type, codec = declared_output(run, type)
        return self._operations.run_output(check_target("run_key", run), output_type, codec)
