"""The runs that this worker holds: those it executes, and the parked ones whose machine is still in memory."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, cast

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import codec_at
from durable.core.errors import Terminal
from durable.core.failures import ErrorInfo
from durable.core.replay.commands import Drawn, Execute, ReadChild, Transact
from durable.core.replay.endings import Settle
from durable.core.replay.generators import watch_generators
from durable.core.replay.history import NO_HISTORY
from durable.core.replay.workflow import Workflow
from durable.core.runs import RunKey, Status
from durable.core.suspicion import Isolation as Kind
from durable.store.inspection import run_outcomes
from durable.store.records import ClaimedRun, Comeback, Event, Written
from durable.store.sequels import Sequel
from durable.store.takeovers import crash_loop
from durable.store.transaction_steps import Ownership
from durable.telemetry.telling import Telling
from durable.worker.callbacks import Callbacks, guarded
from durable.worker.clock import Clock
from durable.worker.database import Database
from durable.worker.isolation import Isolation
from durable.worker.journal import Journal
from durable.worker.run.draws import draw
from durable.worker.run.execution import Execution
from durable.worker.run.pulse import Pulse
from durable.worker.run.step_calls import Before, Ended, Finished, Try, run_step, run_transaction
from durable.worker.sequels import Sequels
from durable.worker.threads import StepThreads

_logger = logging.getLogger("durable.worker")

_UNWIND_SECONDS = 0.5
"""How long a stopping worker waits for cancelled steps before it closes them."""


class Claimer(Protocol):
    """The dispatcher of a workflow, as its executions see it."""

    def place_freed(self, shard_value: str, wake_in: float | None) -> None:
        """Notes that a run has left. It wakes in ``wake_in`` seconds: 0 means that it can be claimed at once, ``None``
        that it need not be claimed."""

    def run_followed(self, shard_value: str) -> None:
        """Notes that a run has ended, and that something is to happen now."""

    def run_set_aside(self, run_key: RunKey, wake_in: float) -> None:
        """Notes that a run has left because the code here does not match it."""

    def run_lost(self, shard_value: str, *, culprits: Collection[str] = ()) -> None:
        """Notes that a run is no longer executed here, and that none of this could be recorded. The culprits, given by
        their ids, are runs that broke the engine."""


class Executions:
    """Keeps at most ``max_resident`` parked machines; the one parked longest is dropped first, and its run is replayed
    when needed."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        callbacks: Callbacks,
        clock: Clock,
        isolation: Isolation,
        worker_id: Callable[[], str],
        *,
        codec: Codec,
        max_resident: int,
        max_threads: int,
        claimer_of: Callable[[str], Claimer],
        shard_count: Callable[[], int],
        max_strikes: int,
        sequels: Sequels,
        telling: Telling | None = None,
    ) -> None:
        self.codec = codec
        self.clock = clock
        self._shard_count = shard_count
        self._max_strikes = max_strikes
        self.sequels = sequels
        self._telling = telling
        self._database = database
        self._journal = journal
        self._callbacks = callbacks
        self._isolation = isolation
        self._loop = asyncio.get_running_loop()
        watch_generators()
        self._worker_id = worker_id
        self._max_resident = max_resident
        self._outages = database.outages
        self.threads = StepThreads(max_threads, database.outages.log)
        self._steps: dict[asyncio.Task[Ended], tuple[RunKey, str]] = {}
        self._claimer_of = claimer_of
        self._active: dict[str, Execution] = {}
        self._resident: OrderedDict[str, Execution] = OrderedDict()
        self._held: dict[str, Execution] = {}
        self._following: dict[str, Callable[[], None]] = {}
        """What is to be executed once the answer has come to the flush that parked the run."""
        self._load: dict[str, int] = {}
        self.paused: frozenset[str] = frozenset()
        """The names of workflows of which no runs are claimed."""
        self._is_draining = False
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    # for the dispatcher

    def free_places(self, workflow: Workflow[Any, Any]) -> int:
        """Returns how many more runs of that workflow may be claimed now: none while a suspect is tried alone."""
        return self.places(workflow) if self._isolation.is_open else 0

    def places(self, workflow: Workflow[Any, Any]) -> int:
        """Returns how many more runs of that workflow may be executed now, suspects included."""
        return 0 if workflow.name in self.paused else workflow.concurrency - self._load.get(workflow.name, 0)

    def pause(self, workflows: frozenset[str]) -> None:
        """Claims no more runs of these workflows, and of the others again."""
        self.paused = workflows

    @property
    def active_runs(self) -> int:
        """The number of runs being executed."""
        return len(self._active)

    @property
    def resident_runs(self) -> int:
        """The number of parked runs kept in memory."""
        return len(self._resident)

    def held_runs(self, workflow: Workflow[Any, Any]) -> list[str]:
        """Returns the ids of the runs of that workflow that are being executed."""
        return [run_id for run_id, execution in self._active.items() if execution.workflow is workflow]

    def hold(self, claimed: ClaimedRun) -> bool:
        """Keeps the machine of that run until the run is submitted or the machine is dropped. Returns ``False`` if
        there is no such machine, or if another worker has touched the run since it was parked."""
        parked = self._resident.get(claimed.run_id)
        if parked is None:
            # The claim may have overtaken the answer to the flush that parked the run.
            leaving = self._active.get(claimed.run_id)
            return leaving is not None and leaving.is_parked and leaving.precedes(claimed)
        if not parked.precedes(claimed):
            return False
        self._held[claimed.run_id] = self._resident.pop(claimed.run_id)
        return True

    def visit_failed(self, shard_value: str, *, is_routing: bool) -> None:
        """Cleans up after a visit that failed. Runs of that shard value may have been claimed without being submitted,
        so machines held for them are dropped; and events may have been routed without being delivered, so the runs
        being executed here look for them."""
        for run_id in [held for held, one in self._held.items() if one.run_key.workflow_name_shard == shard_value]:
            self._held.pop(run_id).close()
        if is_routing:
            for execution in self._active.values():
                if execution.run_key.workflow_name_shard == shard_value:
                    self._callbacks.soon(execution.reload_inbox)

    def submit(
        self,
        workflow: Workflow[Any, Any],
        shard_value: str,
        runs: Sequence[tuple[ClaimedRun, Comeback | None]],
        isolation: Kind | None = None,
    ) -> None:
        """Executes claimed runs; ``isolation`` is how they were claimed. One that cannot be begun is released, and
        fails only if that keeps happening."""
        if self._telling is not None and runs:
            self._telling.claimed(workflow.name, runs)
        self._submit_all(workflow, shard_value, runs, isolation)

    def _submit_all(
        self,
        workflow: Workflow[Any, Any],
        shard_value: str,
        runs: Sequence[tuple[ClaimedRun, Comeback | None]],
        isolation: Kind | None,
    ) -> None:
        for claimed, comeback in runs:
            try:
                self._submit(workflow, shard_value, claimed, comeback, isolation)
            except Exception:
                run_key = RunKey(shard_value, claimed.run_id)
                extra = {"run_key": str(run_key)}
                _logger.exception("unexpected error while beginning run %s; releasing it", run_key, extra=extra)
                self._claimer_of(workflow.name).run_lost(shard_value, culprits=[claimed.run_id])

    def _submit(
        self,
        workflow: Workflow[Any, Any],
        shard_value: str,
        claimed: ClaimedRun,
        comeback: Comeback | None,
        isolation: Kind | None,
    ) -> None:
        superseded = self._active.get(claimed.run_id)
        if superseded is not None:
            if comeback is not None and comeback.history is None and superseded.is_parked:
                self._following[claimed.run_id] = partial(
                    self._submit_all, workflow, shard_value, [(claimed, comeback)], isolation
                )
                return
            superseded.abandon()
        parked = self._held.pop(claimed.run_id, None) or self._resident.pop(claimed.run_id, None)
        if parked is None and comeback is not None and comeback.history is None:
            # All machines were dropped meanwhile. Without its history, the run would execute its steps again.
            self._claimer_of(workflow.name).run_lost(shard_value)
            return
        if parked is not None and comeback is not None and comeback.history is None:
            execution = parked
            begin = partial(execution.resume, claimed, comeback.wake)
        else:
            if parked is not None:
                parked.close()
            history = (comeback.history if comeback else None) or NO_HISTORY
            execution = Execution(self, workflow, shard_value, claimed, history)
            begin = partial(execution.begin, comeback.wake if comeback else None)
        if claimed.lone_strikes >= self._max_strikes:  # a worker without its workflow has counted the last one
            begin = partial(execution.fail, ErrorInfo("CrashLoop", crash_loop(claimed.lone_strikes)))
        self._load[workflow.name] = self._load.get(workflow.name, 0) + 1
        self._isolation.entered(claimed.run_id, isolation)
        self._idle.clear()
        self._active[claimed.run_id] = execution
        execution.is_draining = self._is_draining
        self._callbacks.soon(begin)

    def deliver(self, event: Event) -> None:
        """Hands an event to its run, if that run is being executed here."""
        self._callbacks.soon(self._deliver, event)

    def _deliver(self, event: Event) -> None:
        execution = self._active.get(event.run_id)
        if execution is not None:
            execution.deliver(event)

    # for the executions

    def draw(self, execution: Execution, call: Drawn) -> Finished:
        codec = codec_at(execution.attempt.codec, "step", execution.run_key.run_id, call.key)
        return draw(call, execution.run_key.run_id, codec, execution.attempt.now, self._shard_count)

    def run_step(self, execution: Execution, call: Execute, before: Before) -> asyncio.Task[Ended]:
        attempt, key = execution.attempt, execution.run_key
        codec = codec_at(attempt.codec, "step", key.run_id, call.key)
        of_input = codec_at(attempt.codec, "arguments of a step", key.run_id, call.key)
        pulse = Pulse(call, codec, self._loop, execution.step_said)
        if isinstance(call, ReadChild):
            call = msgspec.structs.replace(call, fn=partial(self._status_of, call.run_key))
        one = Try(call, key, attempt.given, codec, of_input, self.clock, before, pulse)
        if isinstance(call, Transact):
            ownership = Ownership(key.workflow_name_shard, self._worker_id(), key.run_id, attempt.claimed.epoch)
            step = run_transaction(one, self._database, ownership, self._outages, self._stopping)
        else:
            step = run_step(one, self.threads)
        task = self._loop.create_task(step, context=call.context.copy())
        self._steps[task] = key, call.key
        task.add_done_callback(self._steps.__delitem__)
        return task

    async def _status_of(self, run_key: RunKey) -> Status:
        async with self._database.engine() as connection:
            outcomes = await connection.run(run_outcomes(run_key.workflow_name_shard, [run_key.run_id]))
        if run_key.run_id not in outcomes:
            raise Terminal(f"child {run_key} no longer exists")
        return outcomes[run_key.run_id].status

    def sequel(self, execution: Execution, ending: Settle) -> Sequel | None:
        if execution.workflow.on_failure is None:
            return None
        return self.sequels.after(execution.run_key.workflow_name_shard, execution.attempt.ended(ending))

    def mark(self, execution: Execution) -> None:
        self._journal.mark(execution.run_key.workflow_name_shard, execution)

    def left(self, execution: Execution, written: Written | None) -> None:
        run_id = execution.run_key.run_id
        if self._active.get(run_id) is execution:
            del self._active[run_id]
            self._isolation.left(run_id)
        workflow = execution.workflow
        self._load[workflow.name] -= 1
        claimer = self._claimer_of(workflow.name)
        wake_in: float | None = None
        if written is not None and execution.is_parked:
            self._resident[run_id] = execution
            self._resident.move_to_end(run_id)
            while len(self._resident) > self._max_resident:
                self._resident.popitem(last=False)[1].close()
            wake_in = 0.0 if written.requeued else written.wake_in
        elif written is not None and (settled := execution.settled) is not None:
            comes_back_in = execution.attempt.comes_back_in(settled)
            if settled.is_set_aside and comes_back_in is not None:
                claimer.run_set_aside(execution.run_key, comes_back_in)
            else:
                wake_in = comes_back_in
            if written.is_followed:
                claimer.run_followed(execution.run_key.workflow_name_shard)
        claimer.place_freed(execution.run_key.workflow_name_shard, wake_in)
        if written is None:
            culprits = [run_id] if execution.is_to_blame else []
            claimer.run_lost(execution.run_key.workflow_name_shard, culprits=culprits)
        following = self._following.pop(run_id, None)
        if following is not None:
            following()
        if not self._active:
            self._idle.set()

    # for the worker

    async def drain(self, patience: float) -> None:
        """Lets steps finish or runs park for that many seconds, then hands back the runs that are left."""
        self._is_draining = True
        self._journal.is_leaving = True
        self._stopping.set()
        self.threads.stop_starting()
        self._outages.are_over()  # what waits to try again is handed back instead
        for execution in list(self._active.values()):
            self._callbacks.soon(execution.drain)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._idle.wait()
                return
        _logger.warning("interrupting %d runs: their steps did not finish within %g s", len(self._active), patience)
        for execution in list(self._active.values()):
            self._callbacks.soon(execution.interrupt)

    async def becomes_idle(self) -> None:
        """Returns once no run is being executed."""
        await self._idle.wait()

    def abandon_all(self) -> None:
        """Abandons every run, because they belong to other workers now. Must be called from a callback of the event
        loop."""
        self._following.clear()
        for execution in list(self._active.values()):
            guarded(execution.abandon)
        for execution in (*self._resident.values(), *self._held.values()):
            guarded(execution.close)
        self._resident.clear()
        self._held.clear()

    async def end_steps(self) -> None:
        """Ends what is left of steps that were cancelled. Otherwise, a step that ignores its cancellation would keep
        the event loop, and so the process, from ending."""
        if self._steps:
            for task in self._steps:
                task.cancel()  # once more: a step in a thread no longer waits for its thread
            await asyncio.wait(self._steps, timeout=_UNWIND_SECONDS)
        for task, (run_key, step_key) in list(self._steps.items()):
            extra = {"run_key": str(run_key), "step_key": step_key}
            _logger.error("step %r of run %s ignores its cancellation; closing it", step_key, run_key, extra=extra)
            try:
                cast(Coroutine[Any, Any, Ended], task.get_coro()).close()
            except RuntimeError as error:
                _logger.error("step %r of run %s cannot be closed: %s", step_key, run_key, error, extra=extra)
            task.cancel()

    def close(self) -> None:
        """Drops all machines. A sync step that is still running keeps its thread until it returns."""
        self.abandon_all()
        self.threads.close()
