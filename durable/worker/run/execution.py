"""One claimed run on this worker: performs what its machine commands and feeds it the outcomes.

Everything here runs in callbacks of the event loop, never inside a task (see ``ReplayLoop.run_until_quiet``), and
touches nothing of the world but the host. An entry (the claim, an event, a flush, a step that ended, a timer) feeds the
machine, performs the commands that follow, and settles.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from durable.core.errors import unreachable
from durable.core.replay.commands import (
    Abandon,
    CancelChild,
    Command,
    Complete,
    Draw,
    EndCancelled,
    Execute,
    Fail,
    SetAside,
    Sleep,
    StartChild,
    Wait,
    WaitChild,
    WaitEvent,
)
from durable.core.replay.endings import RELEASE, Ending, Park, Settle, cancelled, ending_when_quiet
from durable.core.replay.history import ELAPSED, Cancel, History, TimedOut, Value
from durable.core.replay.workflow import Workflow
from durable.core.runs import RunKey
from durable.store.records import ClaimedRun, Event, Record, Wake, Written
from durable.worker.run.attempt import Attempt
from durable.worker.run.entry import GONE, LEAVING, Phase, entry
from durable.worker.run.host import Host
from durable.worker.run.inbox import Inbox
from durable.worker.run.recording import Recording
from durable.worker.run.step_calls import Fenced, Finished, Interrupted
from durable.worker.run.step_tasks import StepTasks
from durable.worker.run.waits import OpenWaits


class Execution:
    """One run from its claim until it parks or ends. It is resumed in place if the same worker claims the parked run
    again."""

    __slots__ = (
        "_ending",
        "_flushes",
        "_host",
        "_inbox",
        "_machine",
        "_recording",
        "_steps",
        "_waits",
        "attempt",
        "is_draining",
        "is_to_blame",
        "phase",
        "run_key",
        "workflow",
    )

    def __init__(
        self,
        host: Host[Execution],
        workflow: Workflow[object, object],
        shard_value: str,
        claimed: ClaimedRun,
        history: History,
    ) -> None:
        self._host = host
        self.workflow = workflow
        self.run_key = RunKey(shard_value, claimed.run_id)
        self.attempt = Attempt(workflow, self.run_key, claimed, host.codec, host.clock)
        self._machine = self.attempt.machine(history)
        self._recording = Recording(claimed)
        self.phase = Phase.CLAIMED
        self._ending: Ending | None = None
        self._flushes = 0
        self._steps = StepTasks(host.clock)
        self._waits = OpenWaits(host.clock)
        self._inbox = Inbox()
        self.is_draining = False
        self.is_to_blame = False
        """Whether it has let its run go because of what the run did, and not because another worker owns it."""

    @property
    def is_parked(self) -> bool:
        """Returns whether it left its run to wake later, with the machine intact."""
        return isinstance(self._ending, Park)

    @property
    def settled(self) -> Settle | None:
        """Returns how it left its run, ``None`` unless it did so for good or for another attempt."""
        return self._ending if isinstance(self._ending, Settle) else None

    @entry
    def begin(self, wake: Wake | None) -> None:
        """Runs the workflow from the top. ``wake`` is ``None`` on the very first claim."""
        self.phase = Phase.RUNNING
        commands = self.attempt.start(self._machine)
        if not self._machine.is_mismatched:
            self._recording.ordered(self._machine.unordered())
        if wake is not None:
            self._inbox.load(wake.inbox)
        self._perform(commands)
        self._go_on(wake)

    @entry
    def resume(self, claimed: ClaimedRun, wake: Wake) -> None:
        """Continues in place after a park."""
        self.phase = Phase.RUNNING
        self.attempt = Attempt(self.workflow, self.run_key, claimed, self._host.codec, self._host.clock)
        self._recording = Recording(claimed)
        self._ending = None
        self._inbox.load(wake.inbox)
        self._go_on(wake)

    @entry
    def deliver(self, event: Event) -> None:
        """Takes an event or a request that arrived while the run is being executed. One that arrives during a park is
        found by the park's own flush."""
        if self._ending is None:
            self._inbox.add(event)
            if self.phase is Phase.RUNNING:
                self._take_inbox()
                self._settle()

    @entry
    def reload_inbox(self) -> None:
        """Has all events read again, because some may have been lost on their way here. Until then none is taken."""
        if self._ending is None:
            self._inbox.is_known = False
            self._recording.record.wants_inbox = True
            self._settle()

    @entry
    def flushed(self, written: Written) -> None:
        """Called when the journal has written, or refused, a record of this run."""
        self._flushes -= 1
        if not written.is_ours:
            self.is_to_blame = written.is_refused
            self.abandon()
            return
        if self.phase is Phase.LEAVING:
            self._leave(written)
            return
        if written.inbox is not None and self._ending is None:
            self._inbox.is_known = True
            self._inbox.load(written.inbox)
            self._take_inbox()
            for key in self._waits.overdue():
                self._elapse(key)
        self._settle()

    @entry
    def drain(self) -> None:
        """Called when the worker is stopping: no new step starts, and the run is handed back once the steps under way
        have finished."""
        self.is_draining = True
        self._settle()

    @entry
    def interrupt(self) -> None:
        """Called when a stopping worker waits no longer: steps under way are cancelled and will run again elsewhere."""
        if self._ending is None:
            self._ending = RELEASE
            self._settle()

    def abandon(self) -> None:
        """Lets the run go because it belongs to another worker: nothing more of it happens here."""
        if self.phase is GONE:
            return
        self.phase = GONE
        self._steps.cancel()
        self._waits.stop_timers()
        self.close()
        self._host.left(self, None)

    def close(self) -> None:
        """Drops the machine."""
        self._machine.close()

    # for the journal

    def take_record(self) -> Record:
        """Returns what must be written now."""
        if self._ending is not None and self.phase is not GONE:
            self.phase = Phase.LEAVING
        self._waits.inbox_is_asked_for()
        return self._recording.take(self._ending)

    # performing

    def _perform(self, commands: Iterable[Command]) -> None:
        queue = deque(commands)
        while queue:
            command = queue.popleft()
            match command:
                case Execute():  # includes Transact
                    self._steps.defer(command)
                case Draw() | StartChild():
                    queue.extend(self._draw(command))
                case Sleep() | WaitEvent() | WaitChild():
                    self._wait(command)
                case Abandon():
                    self._forget(command)
                case CancelChild():
                    self._recording.unwanted(command.run_key)
                case Complete() | Fail() | EndCancelled() | SetAside():
                    self._ending = self.attempt.ending_of(command)
                case _:
                    unreachable(command)
            if not queue and self._waits and self._ending is None:
                queue.extend(self._next_answer())  # last, because the code may have abandoned the wait in the same turn

    def _draw(self, call: Draw | StartChild) -> Iterable[Command]:
        return self._answer_step(call, self._host.draw(self, call))

    def _answer_step(self, call: Execute | Draw | StartChild, finished: Finished) -> list[Command]:
        seq, commands = self._machine.resolve(call.key, finished.outcome)
        if seq is not None:
            self._recording.step(call, finished, seq)
        return commands

    def _wait(self, call: Wait) -> None:
        self._recording.opened(call)
        self._waits.open(call)
        if not isinstance(call, Sleep):
            self._recording.record.wants_inbox |= not self._inbox.is_known

    def _answer_wait(self, call: Wait, outcome: Value | TimedOut, event_id: str | None) -> list[Command]:
        self._waits.close(call.key)
        seq, commands = self._machine.resolve(call.key, outcome)
        if seq is not None:
            is_unfit = isinstance(call, WaitEvent) and self._machine.is_mismatched
            self._recording.answered(call.key, outcome, event_id, seq, is_unfit=is_unfit)
        return commands

    def _forget(self, command: Abandon) -> None:
        key = command.call.key
        self._steps.forget(key, self._let_go)
        if isinstance(command.call, Wait):
            self._waits.close(key)
            self._recording.abandoned(key)

    # what comes in

    @entry
    def _step_ended(self, call: Execute, task: asyncio.Task[Finished]) -> None:
        if not self._steps.has_finished(call, task):
            self._let_go(task)
        else:
            self._answer(call, task)

    def _answer(self, call: Execute, task: asyncio.Task[Finished]) -> None:
        error = task.exception()
        if isinstance(error, Fenced):
            self.abandon()
            return
        if isinstance(error, Interrupted):
            self._steps.defer(call)  # it is handed back with the run, once the other steps have finished
        else:
            self._perform(self._answer_step(call, task.result()))
        self._settle()

    def _take_requests(self) -> None:
        if self._ending is not None:
            return  # requests to a run that is set aside stay unmet until matching code can clean up
        for request in self._inbox.take_requests():
            self._recording.met(request)
            cancel = Cancel.requested(request.payload)
            if request.kind == "terminate":
                self._ending = cancelled(cancel)
            else:
                self._cancel(cancel)

    def _cancel(self, cancel: Cancel) -> None:
        seq, commands = self._machine.cancel(cancel)
        if seq is None:
            return
        self._recording.cancelled(cancel, seq)
        self._perform(commands)

    def _watch_deadline(self) -> None:
        remaining = self.attempt.remaining()
        if self._ending is None and remaining is not None:
            if remaining <= 0:
                self._cancel(Cancel("deadline"))
            else:
                self._waits.set_deadline(remaining, self._deadline_passed)

    @entry
    def _deadline_passed(self) -> None:
        if self._ending is None:
            self._cancel(Cancel("deadline"))
            self._settle()

    @entry
    def _let_go(self, task: asyncio.Task[Finished]) -> None:
        if self._steps.let_go(task) and not self.is_parked:
            self._settle()

    def _go_on(self, wake: Wake | None) -> None:
        self._take_requests()
        if wake is not None and self._ending is None:
            self._take_wake(wake)
        self._watch_deadline()
        self._settle()

    def _take_wake(self, wake: Wake) -> None:
        self._inbox.is_known = True
        self._recording.record.wants_inbox = False
        self._take_inbox()
        for key in wake.due:
            self._elapse(key)
        for key, remaining in wake.remaining.items():
            if remaining is not None:
                self._waits.start_timer(key, remaining, self._timer_fired)

    def _elapse(self, key: str) -> None:
        call = self._waits.get(key)
        if call is not None and self._ending is None:
            outcome: Value | TimedOut = ELAPSED if isinstance(call, Sleep) else TimedOut()
            self._perform(self._answer_wait(call, outcome, None))

    def _next_answer(self) -> list[Command]:
        """Returns the commands that follow from the first event in the inbox for which a wait is open."""
        while arrival := self._waits.next_arrival(self._inbox):
            call, event = arrival
            commands = self._answer_wait(call, Value(event.payload), event.event_id)
            if commands:
                return commands
        return []

    def _take_inbox(self) -> None:
        self._take_requests()
        if self._ending is None:
            self._perform(self._next_answer())

    # what follows

    def _settle(self) -> None:
        """Called after each entry: starts what may start, passes on what must be written, and leaves when nothing is
        left to do."""
        if self.phase is GONE or self.phase is LEAVING:
            return
        if self._ending is None and not self._steps.is_active:
            self._ending = ending_when_quiet(
                are_steps_waiting=self._steps.is_waiting,
                are_waits_open=bool(self._waits),
                is_draining=self.is_draining,
            )
        is_empty = self._recording.record.is_empty
        if self._ending is not None:
            self._waits.stop_timers()
            self._steps.cancel()
        elif self._steps.is_waiting and not self.is_draining and self._flushes == 0 and is_empty:
            self._steps.start_deferred(self._start, self._step_ended)
        elif not is_empty and self._waits:
            # While steps keep the run here, its waits end by local timers that are started when the waits are opened.
            self._waits.start_timers(self._recording.record.entries, self.attempt.now(), self._timer_fired)
        if self._flushes == 0 and (self._ending is not None or not is_empty):
            self._flushes = 1
            self._host.mark(self)

    def _start(self, call: Execute) -> asyncio.Task[Finished]:
        return self._host.run_step(self, call)

    @entry
    def _timer_fired(self, key: str) -> None:
        if isinstance(self._waits.get(key), WaitEvent):
            self._waits.await_inbox(key)
            self._recording.record.wants_inbox = True
        else:
            self._elapse(key)
        self._settle()

    def _leave(self, written: Written) -> None:
        if isinstance(self._ending, Settle):
            self.phase = GONE
            self.close()
        else:
            self._inbox.clear()
        self._host.left(self, written)
