"""What a run has to write since its last flush, gathered call by call."""

from __future__ import annotations

from durable.core.commands import Draw, Execute, Sleep, WaitEvent
from durable.core.endings import Ending
from durable.core.history import Cancel, TimedOut, Value
from durable.steps import Finished
from durable.store.records import AnsweredWait, ClaimedRun, OpenedWait, Record, StepMemo


class Recording:
    """``record`` is what has gathered; ``take`` hands it over and begins the next one."""

    __slots__ = ("record",)

    def __init__(self, claimed: ClaimedRun) -> None:
        self.record = Record(claimed.run_id, claimed.epoch)

    def take(self, ending: Ending | None) -> Record:
        """All that has gathered, and how the run leaves, if it does."""
        record = self.record
        record.ending = ending
        self.record = Record(record.run_id, record.epoch)
        return record

    def step(self, call: Execute | Draw, finished: Finished, seq: int) -> None:
        """A step finished. Of a transaction only the order is still to be written."""
        if finished.is_stored:
            self.record.orders.append((call.key, seq))
        else:
            self.record.steps.append(finished.memo(call, seq))

    def opened(self, call: Sleep | WaitEvent) -> None:
        """A wait began."""
        if isinstance(call, WaitEvent):
            wait = OpenedWait(call.key, call.event_name, call.timeout, None)
        else:
            wait = OpenedWait(call.key, None, None if call.until else call.seconds, call.until)
        self.record.opened.append(wait)

    def answered(self, key: str, outcome: Value | TimedOut, event_id: str | None, seq: int) -> None:
        """A wait ended; ``event_id`` is the event it took, if it took one."""
        payload = outcome.text if isinstance(outcome, Value) and event_id is not None else None
        self.record.answered.append(AnsweredWait(key, seq, isinstance(outcome, TimedOut), event_id, payload))

    def cancelled(self, cancel: Cancel, seq: int) -> None:
        """The run was cancelled."""
        self.record.steps.append(
            StepMemo(cancel.key, "cancel", seq, cancel.cause, 1, 0.0, input=None, output=cancel.text, error=None)
        )
        self.record.is_cancelled = True
