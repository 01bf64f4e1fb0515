"""What is asked of a run while it is executed: that it end, or stand still."""

from __future__ import annotations

from abc import ABC

from durable.core.replay.commands import Execute
from durable.core.replay.endings import PAUSED, Ending, Settle, cancelled
from durable.core.replay.history import Cancel
from durable.store.records import Event
from durable.worker.run.entry import entry
from durable.worker.run.hold import Hold
from durable.worker.run.performing import Performance
from durable.worker.run.step_calls import Finished


class Steering(Performance, ABC):
    """The part of an execution that obeys requests and the deadline."""

    __slots__ = ()

    def _take_requests(self) -> None:
        # Else they stay unmet: if it is set aside, until matching code can clean up, or else until its next chapter.
        if self._ending is not None or self._machine.is_continuing:
            return
        for request in self._inbox.take_requests():
            match request.kind:
                case "terminate":
                    self._recording.met(request)
                    self._ending = cancelled(Cancel.requested(request.payload))
                    self._steps.cancel()
                case "pause":
                    self._lift_pause()
                    self._pause = request
                case "resume":
                    self._recording.met(request)
                    self._lift_pause()
                case "cancel":
                    self._cancel(Cancel.requested(request.payload), request)
                case _:  # sent by a later release
                    pass

    def _lift_pause(self) -> None:
        if self._pause is not None:
            self._recording.met(self._pause)
            self._pause = None

    def _pause_is_over(self, ending: Ending) -> None:
        """Notes that the run leaves because of its pause, or has ended before. If it leaves in any other way, the
        worker that claims it next finds the request."""
        if ending is PAUSED or (isinstance(ending, Settle) and ending.is_terminal):
            self._lift_pause()

    def _take_back_marks(self) -> None:
        """Notes that steps that may be called at most once were not called: if the run goes on, they are asked for
        again."""
        for call in self._steps.take_unbegun():
            if (tries := self._tries.over(call.key)) is not None:
                self._recording.tries_are_over(call.key, tries, self._tries.still_failing(), is_deleted=False)
            self._commands.append(call)

    @property
    def _is_late(self) -> bool:
        remaining = self.attempt.remaining()
        return self._ending is None and remaining is not None and remaining <= 0

    def _watch_deadline(self) -> None:
        remaining = self.attempt.remaining()
        if self._is_late:
            self._cancel(Cancel("deadline"))
        elif self._ending is None and remaining is not None:
            self._waits.set_deadline(remaining, self._deadline_passed)

    @entry
    def _deadline_passed(self) -> None:
        if self._ending is None:
            self._cancel(Cancel("deadline"))
            self._settle()

    def _cancel(self, cancel: Cancel, request: Event | None = None) -> None:
        """Cancels the run, once the children that it awaits have ended. It does not stay paused."""
        if self._hold is None:
            self._hold = Hold(cancel)
            self._steps.hold_back()
        if request is not None:
            self._hold.requests[request.event_id] = request
        if self._pause is not None:
            self._hold.requests[self._pause.event_id] = self._pause
            self._pause = None
        self._end_hold()

    def _end_hold(self) -> None:
        hold = self._hold
        if hold is None or self.is_taking_turns or self._commands or self._ending is not None:
            return
        if not hold.has_begun:
            hold.begin(self._waits.held_children() if self._machine.may_be_cancelled else ())
            for child in hold.awaits(self._inbox):
                self._recording.unwanted(child, is_awaited=True)
        if not hold.is_over(self._inbox):
            return
        self._hold = None
        seq, commands = self._machine.cancel(hold.cancel)
        if (
            not self._machine.is_continuing
        ):  # else it did so in its last turns before the cancel, which is left for then
            for request in hold.requests.values():
                self._recording.met(request)
        if seq is not None:
            self._recording.cancelled(hold.cancel, seq, self._machine.moment)
        self._perform(commands)
        for call, finished in hold.finished:
            self._perform(self._answer_step(call, finished))

    def _step_finished(self, call: Execute, finished: Finished) -> None:
        if self._hold is None:
            self._perform(self._answer_step(call, finished))
        else:
            finished = self._recording.unseen(call, self._end_tries(call, finished))
            self._hold.finished.append((call, finished))
