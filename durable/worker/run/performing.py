"""Performs what the machine of a run commands, and feeds it the answers that are there."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import timedelta

from durable.core.errors import INTERRUPTED, unreachable
from durable.core.replay.commands import (
    Abandon,
    ArmTimer,
    CancelChild,
    Command,
    Complete,
    ContinueAsNew,
    Draw,
    Drawn,
    EndCancelled,
    Execute,
    Fail,
    Patch,
    Publish,
    Reply,
    SetAside,
    SetStatus,
    Sleep,
    StartChild,
    Wait,
    WaitChild,
    WaitEvent,
    WaitEvents,
    WaitRequest,
)
from durable.core.replay.endings import Ending
from durable.core.replay.history import ELAPSED, Failure, TimedOut, Value
from durable.core.replay.machine import Machine
from durable.core.replay.tries import FailedTry
from durable.core.runs import RunKey
from durable.store.records import Event
from durable.worker.run.attempt import Attempt
from durable.worker.run.entry import Phase, entry
from durable.worker.run.hold import Hold
from durable.worker.run.inbox import Inbox
from durable.worker.run.recording import Recording
from durable.worker.run.step_calls import Ended, Finished
from durable.worker.run.step_tasks import StepTasks
from durable.worker.run.step_tries import StepTries, in_all
from durable.worker.run.waits import OpenWaits

_logger = logging.getLogger("durable.worker")

_YOUNG_SECONDS = 1.0
"""A timer that is cancelled before it is this old is not written, as long as steps keep its run here."""
_MANY_TIMERS = 1000
_MANY_MEMOS = 10_000
_SAID = Finished(ELAPSED, 1, 0.0, None, is_stored=False)
"""The outcome of what a run says to others: that is done with the flush that records it."""
_A_TURN = 200
"""Commands and answers of one run in one turn of the event loop; they take a few milliseconds."""


class Performance(ABC):
    """The machine of a run and what it works with. What its code asks for while it is fed is performed at once, except
    that steps wait for the flush, and that other runs have their turn after some."""

    __slots__ = (
        "_commands",
        "_due",
        "_ending",
        "_hold",
        "_inbox",
        "_is_beginning",
        "_machine",
        "_pause",
        "_recording",
        "_steps",
        "_timers_fired",
        "_tries",
        "_waits",
        "attempt",
        "is_taking_turns",
        "is_to_blame",
        "phase",
        "run_key",
    )

    attempt: Attempt
    run_key: RunKey
    _machine: Machine
    _recording: Recording
    _steps: StepTasks
    _tries: StepTries
    _waits: OpenWaits
    _inbox: Inbox
    _ending: Ending | None
    _hold: Hold | None
    _pause: Event | None
    """The request to pause the run, until it leaves for it, goes on, or ends."""
    _is_beginning: bool
    """Whether it is still to be seen if the run is to be cancelled. The ends of children do not come before that: it
    may be why they have ended."""
    _timers_fired: int
    _commands: deque[Command]
    """What is still to be performed."""
    _due: deque[str]
    """The waits whose time is over."""
    is_taking_turns: bool
    """Whether it goes on in a later turn of the event loop; or would, if the run were not leaving. What is left then is
    asked for again by the next replay."""

    phase: Phase
    is_to_blame: bool
    """Whether it has let its run go because of what the run did, and not because another worker owns it."""

    # what the execution does

    @abstractmethod
    def abandon(self) -> None: ...

    @abstractmethod
    def _settle(self) -> None: ...

    @abstractmethod
    def _drawn(self, call: Drawn) -> Finished: ...

    @abstractmethod
    def _continue_later(self) -> None: ...

    @abstractmethod
    def _timer_fired(self, key: str) -> None: ...

    @abstractmethod
    def _timers_are_older(self) -> None: ...

    @abstractmethod
    def _let_go(self, task: asyncio.Task[Ended]) -> None: ...

    # what the machine commands

    def _perform(self, commands: Iterable[Command]) -> None:
        self._commands.extend(commands)
        if not self.is_taking_turns:
            self._perform_some()

    def _perform_some(self) -> None:
        queue = self._commands
        for _ in range(_A_TURN):
            if queue:
                self._perform_one(queue.popleft())
            # Last, because the code may have abandoned the wait in the same turn.
            elif self._may_answer and (commands := self._next_answer()) is not None:
                queue.extend(commands)
            else:
                return
        if queue or self._ending is None:
            self.is_taking_turns = True
            self._continue_later()

    @property
    def _may_answer(self) -> bool:
        stands = self._ending is not None or self._hold is not None or self._pause is not None
        return bool(self._waits) and not stands and not self._is_beginning

    @property
    def _stays(self) -> bool:
        """Whether it is not worth the while to leave: it goes on by itself, at once or shortly."""
        return self._steps.is_waiting or self._tries.are_due_soon or self._waits.are_gathering_shortly

    def _perform_one(self, command: Command) -> None:
        match command:
            case Execute():  # includes Transact
                self._call(command)
            case Draw() | StartChild() | Publish():
                self._commands.extend(self._draw(command))
            case Reply():
                self._commands.extend(self._answer_step(command, _SAID))
            case Sleep() | WaitEvent() | WaitChild():
                self._wait(command)
            case Abandon():
                self._forget(command)
            case CancelChild():
                self._recording.unwanted(command.run_key, is_awaited=command.is_awaited)
            case SetStatus(text):
                self._recording.record.status_detail = text
            case Patch():
                self._recording.patched(command)
            case Complete() | ContinueAsNew() | Fail() | EndCancelled() | SetAside():
                self._ending = self.attempt.ending_of(command)
            case _:
                unreachable(command)

    def _call(self, call: Execute) -> None:
        tries = self._tries.get(call.key)
        if tries is None:
            if call.is_at_most_once:
                self._recording.tried(call, self._tries.begins(call, self.attempt.now()), None)
            self._steps.defer(call)
        elif not tries.is_mark:
            self._waits.open(call)
        elif call.is_at_most_once:
            finished = Finished(Failure(INTERRUPTED), 1, 0.0, None, is_stored=False)
            self._commands.extend(self._answer_step(call, finished))
        else:
            self._steps.defer(call)

    def _try_again(self, call: Execute, failed: FailedTry) -> None:
        # Counted from the failure, not from when that is written, so that local timers and the database agree.
        now = self.attempt.now()
        self._recording.tried(call, self._tries.failed(call, failed, now), now + timedelta(seconds=failed.delay))
        self._waits.open(call)
        self._waits.start_timer(call.key, failed.delay, self._timer_fired)

    @entry
    def step_said(self, call: Execute, detail: str) -> None:
        """Called when a step that is being executed has said how far it has come."""
        if self._ending is None and self._steps.is_running(call.key):
            self._tries.said(call, detail, self.attempt.now(), self._record_details)

    @entry
    def _record_details(self) -> None:
        for call, tries in self._tries.take_unrecorded(self._record_details) if self._ending is None else ():
            self._recording.tried(call, tries, None if tries.is_mark else self.attempt.now())
        self._settle()

    def _draw(self, call: Drawn) -> Iterable[Command]:
        return self._answer_step(call, self._drawn(call))

    def _answer_step(self, call: Execute | Drawn, finished: Finished) -> list[Command]:
        finished = self._end_tries(call, finished)
        seq, commands = self._machine.resolve(call.key, finished.outcome)
        if seq is not None:
            self._count_memos(seq)
            self._recording.step(call, finished, seq, self._machine.moment)
        return commands

    def _end_tries(self, call: Execute | Drawn, finished: Finished) -> Finished:
        tries = self._tries.over(call.key)
        if tries is None:
            return finished
        self._recording.tries_are_over(call.key, tries, self._tries.still_failing(), is_deleted=finished.is_stored)
        return in_all(finished, tries, self.attempt.now())

    def _wait(self, call: Wait) -> None:
        if isinstance(call, ArmTimer):
            self._arm(call)
            return
        self._recording.opened(call)
        self._waits.open(call)
        if not isinstance(call, Sleep):
            self._recording.record.wants_inbox |= not self._inbox.is_known

    def _arm(self, call: ArmTimer) -> None:
        self._waits.open(call)
        self._waits.start_timer(call.key, call.seconds, self._timer_fired)
        if not call.is_open:
            # Counted from now, not from when the code armed it by the time of its last answer, which may be days old.
            self._recording.armed(call.key, self.attempt.now() + timedelta(seconds=call.seconds))
            self._waits.when_older(_YOUNG_SECONDS, self._timers_are_older)

    def _answer_wait(self, call: Wait, outcome: Value | TimedOut, event_ids: tuple[str, ...] = ()) -> list[Command]:
        self._waits.close(call.key)
        seq, commands = self._machine.resolve(call.key, outcome)
        if seq is not None:
            self._count_memos(seq)
            is_unfit = isinstance(call, WaitEvent) and self._machine.is_mismatched
            self._recording.answered(call.key, outcome, event_ids, seq, self._machine.moment, is_unfit=is_unfit)
        return commands

    def _forget(self, command: Abandon) -> None:
        key = command.call.key
        self._steps.forget(key, self._let_go)
        if isinstance(command.call, Wait):
            self._waits.close(key)
            if isinstance(command.call, ArmTimer) and command.call.is_open:
                self._recording.dropped(key)
            else:
                self._recording.abandoned(key)
        elif (tries := self._tries.over(key)) is not None:
            self._waits.close(key)
            self._recording.tries_are_over(key, tries, self._tries.still_failing(), is_deleted=False)

    def _elapse(self, keys: Iterable[str]) -> None:
        self._due.extend(keys)
        self._perform(())

    def _next_answer(self) -> Iterable[Command] | None:
        """Returns the commands that follow from the first event in the inbox for which a wait is open, or else from the
        first wait whose time is over; ``None`` if there is neither."""
        arrival = self._waits.next_arrival(self._inbox)
        if arrival is not None:
            call, events = arrival
            return self._answer_with(call, events) if events else self._gather(call)
        return self._time_is_over(self._due.popleft()) if self._due else None

    def _time_is_over(self, key: str) -> Iterable[Command]:
        call = self._waits.get(key)
        if call is None:
            return ()
        if isinstance(call, Execute):
            self._waits.close(key)
            self._tries.is_due(key)
            self._steps.defer(call)
            return ()
        if isinstance(call, ArmTimer):
            self._count_timer()
        if isinstance(call, WaitEvents) and (events := self._waits.take_gathered(call, self._inbox)):
            return self._answer_with(call, events)
        is_sleep = call.is_sleep if isinstance(call, ArmTimer) else isinstance(call, Sleep)
        return self._answer_wait(call, ELAPSED if is_sleep else TimedOut())

    def _answer_with(self, call: WaitEvent | WaitChild, events: Sequence[Event]) -> list[Command]:
        text = events[0].payload
        if isinstance(call, WaitRequest):
            text = call.taken(events[0].event_id, text)
        elif isinstance(call, WaitEvents):
            text = call.answer([event.payload for event in events])
        return self._answer_wait(call, Value(text), tuple(event.event_id for event in events))

    def _gather(self, call: WaitEvent | WaitChild) -> Iterable[Command]:
        """Limits the time of a wait for several events, of which the first has come."""
        if isinstance(call, WaitEvents):
            self._recording.gathering(call.key, self.attempt.now() + timedelta(seconds=call.within))
            self._waits.restart_timer(call.key, call.within, self._timer_fired)
        return ()

    def _count_memos(self, seq: int) -> None:
        if seq == _MANY_MEMOS:
            _logger.warning(
                "run %s has %d memos, through all of which every replay goes; have it continue as new, or leave parts "
                "of its work to children",
                self.run_key,
                _MANY_MEMOS,
                extra={"run_key": str(self.run_key)},
            )

    def _count_timer(self) -> None:
        self._timers_fired += 1
        if self._timers_fired == _MANY_TIMERS:
            _logger.warning(
                "run %s has waited for %d timers of asyncio, each of which is stored; wait for events, or sleep longer",
                self.run_key,
                _MANY_TIMERS,
                extra={"run_key": str(self.run_key)},
            )
