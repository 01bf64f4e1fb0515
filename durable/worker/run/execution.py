"""One claimed run on this worker: performs what its machine commands and feeds it the outcomes.

Everything here runs in callbacks of the event loop, never inside a task (see ``ReplayLoop.run_until_quiet``), and
touches nothing of the world but the host. An entry (the claim, an event, a flush, a step that ended, a timer) feeds the
machine, performs the commands that follow, and settles.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from durable.core.failures import ErrorInfo
from durable.core.replay.commands import Abandon, Drawn, Execute, WaitEvent
from durable.core.replay.endings import RELEASE, Park, Settle, ending_when_quiet
from durable.core.replay.history import Cancel, History
from durable.core.replay.tries import FailedTry
from durable.core.replay.workflow import Workflow
from durable.core.runs import RunKey
from durable.store.records import ClaimedRun, Event, Record, Wake, Written
from durable.store.sequels import Sequel
from durable.worker.run.attempt import Attempt
from durable.worker.run.entry import GONE, LEAVING, Phase, entry
from durable.worker.run.host import Host
from durable.worker.run.inbox import Inbox
from durable.worker.run.recording import Recording
from durable.worker.run.steering import Steering
from durable.worker.run.step_calls import Ended, Fenced, Finished, Interrupted
from durable.worker.run.step_tasks import StepTasks
from durable.worker.run.step_tries import StepTries
from durable.worker.run.waits import OpenWaits

_NO_MORE = object()


class Execution(Steering):
    """One run from its claim until it parks or ends. It is resumed in place if the same worker claims the parked run
    again."""

    __slots__ = (
        "_flushes",
        "_host",
        "_is_continuing",
        "_then",
        "is_draining",
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
        self._ending = None
        self._flushes = 0
        self._timers_fired = 0
        self._hold = self._pause = None
        self._is_beginning = True
        self._commands = deque()
        self._due = deque()
        self.is_taking_turns = self._is_continuing = False
        self._then: Callable[[], None] | None = None
        self._steps = StepTasks(host.clock)
        self._tries = StepTries(host.clock, history.open_waits)
        self._waits = OpenWaits(host.clock, history.open_waits)
        self._inbox = Inbox()
        self.is_draining = False
        self.is_to_blame = False

    @property
    def is_parked(self) -> bool:
        """Returns whether it left its run to wake later, with the machine intact."""
        return isinstance(self._ending, Park)

    def precedes(self, claimed: ClaimedRun) -> bool:
        """Returns whether no worker has touched the run between this execution and that claim."""
        return self.attempt.claimed.epoch == claimed.epoch - 1

    @property
    def settled(self) -> Settle | None:
        """Returns how it left its run, ``None`` unless it did so for good or for another attempt."""
        return self._ending if isinstance(self._ending, Settle) else None

    @entry
    def begin(self, wake: Wake | None) -> None:
        """Runs the workflow from the top. ``wake`` is ``None`` on the very first claim."""
        self._begin_on(self._machine.begin(self.attempt.main(self._machine)), wake)

    @entry
    def _begin_on(self, rest: Iterator[None] | None, wake: Wake | None) -> None:
        if self._ending is not None:  # it was interrupted meanwhile
            return
        if rest is not None and next(rest, _NO_MORE) is not _NO_MORE:
            self._host.clock.call_later(0.0, self._begin_on, rest, wake)  # other runs have their turn
            return
        self.phase = Phase.RUNNING
        must_reload = self._recording.record.wants_inbox
        if not self._machine.is_mismatched:
            self._recording.ordered(self._machine.unordered())
        if wake is not None:
            self._inbox.load(wake.inbox)
        commands = self._machine.take_commands()
        if self.attempt.claimed.strikes:
            self._tries.interrupted(commands, self.attempt.claimed.strikes)
        given_up = {command.call.key for command in commands if isinstance(command, Abandon)}
        if wake is not None and given_up:  # what has the same key from now on is another timer
            wake = wake.without(given_up)
        self._perform(commands)
        if self.is_taking_turns:  # not all waits are open yet that the wake may end
            self._then = partial(self._begun, wake, must_reload=must_reload)
        else:
            self._begun(wake, must_reload=must_reload)

    def _begun(self, wake: Wake | None, *, must_reload: bool) -> None:
        self._go_on(wake)
        if must_reload:
            self.reload_inbox()

    @entry
    def resume(self, claimed: ClaimedRun, wake: Wake) -> None:
        """Continues in place after a park."""
        self.phase = Phase.RUNNING
        self.attempt = Attempt(self.workflow, self.run_key, claimed, self._host.codec, self._host.clock)
        self._machine.loop.clock = self.attempt.now  # the database's clock may have run differently from ours
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
        self.attempt.log_unsent(written.unsent)
        if self.phase is Phase.LEAVING:
            self._leave(written)
            return
        if written.inbox is not None and self._ending is None:
            self._inbox.load(written.inbox)
            self._inbox.all_is_loaded()
            self._take_inbox()
            self._elapse(self._waits.overdue())
        self._settle()

    @entry
    def fail(self, error: ErrorInfo) -> None:
        """Ends the run without executing anything of it."""
        self._ending = Settle(status="failed", error=error.text)
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
        if self.phase is not LEAVING:
            self._steps.cancel()
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
        try:
            self.close()
        finally:
            self._host.left(self, None)

    def close(self) -> None:
        """Drops the machine."""
        self._machine.close()

    # for the journal

    def take_record(self) -> Record:
        """Returns what must be written now."""
        if self._is_to_leave and self.phase is not GONE:
            self.phase = Phase.LEAVING
        self._waits.inbox_is_asked_for()
        ending = self._ending if self._is_to_leave else None
        return self._recording.take(ending, self.sequel(ending) if isinstance(ending, Settle) else None)

    def sequel(self, ending: Settle) -> Sequel | None:
        """Returns the run that begins if this one ends like that."""
        return self._host.sequel(self, ending) if ending.is_terminal else None

    # what comes in

    @entry
    def _step_ended(self, call: Execute, task: asyncio.Task[Ended]) -> None:
        if not self._steps.has_finished(call, task, self.run_key):
            self._let_go(task)
        else:
            self._answer(call, task)

    def _answer(self, call: Execute, task: asyncio.Task[Ended]) -> None:
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or isinstance(error, Fenced):
            self.abandon()
            return
        if isinstance(error, Interrupted):
            self._steps.defer(call)  # it is handed back with the run, once the other steps have finished
        elif isinstance(result := task.result(), FailedTry):
            self._try_again(call, result)
        else:
            self._step_finished(call, result)
        self._settle()

    @entry
    def _let_go(self, task: asyncio.Task[Ended]) -> None:
        if self._steps.let_go(task, self.run_key) and not self.is_parked:
            self._settle()

    def _go_on(self, wake: Wake | None) -> None:
        self._take_requests()
        if self._is_late and self._waits.held_children():  # their ends may have come because of the deadline
            self._cancel(Cancel("deadline"))
        self._is_beginning = False
        if wake is not None and self._ending is None:
            self._take_wake(wake)
        self._watch_deadline()
        self._settle()

    def _take_wake(self, wake: Wake) -> None:
        self._inbox.all_is_loaded()
        self._recording.record.wants_inbox = False
        for key, remaining in wake.remaining.items():
            if remaining is not None:
                self._waits.restart_timer(key, remaining, self._timer_fired)
        self._take_inbox()
        self._elapse(wake.due)

    def _take_inbox(self) -> None:
        self._take_requests()
        if self._ending is None:
            self._perform(())

    @entry
    def _timers_are_older(self) -> None:
        self._waits.are_older()
        if self._ending is None:
            self._recording.keep_timers()
            self._settle()

    # what follows

    @property
    def _may_go_on(self) -> bool:
        return not self.is_draining and self._pause is None

    @property
    def _is_to_leave(self) -> bool:
        return self._ending is not None and not self._steps.is_unwinding

    def _settle(self) -> None:
        """Called after each entry: starts what may start, passes on what must be written, and leaves when nothing is
        left to do."""
        if self.phase is GONE or self.phase is LEAVING or (self.phase is Phase.CLAIMED and self._ending is None):
            return
        self._end_hold()
        if self._ending is None and self._machine.has_more_turns:
            self._continue_later()
            return
        if self._ending is None and not self.is_taking_turns and not self._steps.is_active:
            self._ending = ending_when_quiet(
                are_steps_waiting=self._stays,
                are_waits_open=bool(self._waits),
                is_draining=self.is_draining,
                is_paused=self._pause is not None,
                held=() if self._hold is None else tuple(one.run_id for one in self._hold.awaits(self._inbox)),
                gathered=self._waits.gathered(self._inbox),
            )
        is_empty = self._recording.record.is_empty
        if self._ending is not None:
            self._pause_is_over(self._ending)
            self._take_back_marks()
            self._waits.stop_timers()
            self._steps.forget_all(self._let_go)  # what follows the run may be there to undo them, or to try them again
        elif self._hold is None and self._steps.is_waiting and self._flushes == 0 and is_empty:
            self._steps.all_is_written()
        elif not is_empty and self._waits:
            # While steps keep the run here, its waits end by local timers that are started when the waits are opened.
            self._waits.start_timers(self._recording.take_opened(), self.attempt.now(), self._timer_fired)
        if self._ending is None and self._steps.may_start and not self._is_continuing and self._may_go_on:
            self._steps.start_some(self._start_step, self._step_ended)
            if self._steps.may_start:
                self._continue_later()
        if self._flushes == 0 and (self._is_to_leave or not is_empty):
            self._flushes = 1
            self._host.mark(self)

    def _continue_later(self) -> None:
        if not self._is_continuing:
            self._is_continuing = True
            self._host.clock.call_later(0.0, self._continue)

    @entry
    def _continue(self) -> None:
        """Does more of what would keep other runs from their turn if it were done at once."""
        self._is_continuing = False
        if self._ending is None and self._machine.has_more_turns:
            self._perform(self._machine.turn_on())
        if self.is_taking_turns and self._ending is None:
            self.is_taking_turns = False
            self._perform_some()
        if self._then is not None and not self.is_taking_turns:
            then, self._then = self._then, None
            then()
        else:
            self._settle()

    def _drawn(self, call: Drawn) -> Finished:
        return self._host.draw(self, call)

    def _start_step(self, call: Execute) -> asyncio.Task[Ended]:
        return self._host.run_step(self, call, self._tries.before(call.key))

    @entry
    def _timer_fired(self, key: str) -> None:
        if isinstance(self._waits.get(key), WaitEvent):
            self._waits.await_inbox(key)
            self._recording.record.wants_inbox = True
        else:
            self._elapse((key,))
        self._settle()

    def _leave(self, written: Written) -> None:
        if isinstance(self._ending, Settle):
            self.phase = GONE
            self.close()
        else:
            self._inbox.clear()
        self._host.left(self, written)
