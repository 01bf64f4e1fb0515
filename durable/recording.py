"""What a run has to write since its last flush, gathered call by call."""

from __future__ import annotations

from durable.core.commands import Draw, Execute, Sleep, StartChild, Wait, WaitChild, WaitEvent
from durable.core.endings import Ending
from durable.core.errors import unreachable
from durable.core.history import Cancel, TimedOut, Value
from durable.steps import Finished
from durable.store.records import AnsweredWait, ClaimedRun, NewChild, OpenedWait, Record, StepMemo


class Recording:
    """``record`` is what has gathered; ``take`` hands it over and begins the next one."""

    __slots__ = ("record",)

    def __init__(self, claimed: ClaimedRun) -> None:
        self.record = Record(claimed.run_id, claimed.epoch, claimed.parent)

    def take(self, ending: Ending | None) -> Record:
        """All that has gathered, and how the run leaves, if it does."""
        record = self.record
        record.ending = ending
        self.record = Record(record.run_id, record.epoch, record.parent)
        return record

    def step(self, call: Execute | Draw | StartChild, finished: Finished, seq: int) -> None:
        """A step finished. Of a transaction only the order is still to be written; a child is still to be begun."""
        if finished.is_stored:
            self.record.orders.append((call.key, seq))
        else:
            self.record.steps.append(finished.memo(call, seq))
        if isinstance(call, StartChild) and isinstance(finished.outcome, Value):
            workflow, run_key = call.workflow, call.begun(finished.outcome.text)
            self.record.children.append(
                NewChild(run_key, workflow.name, workflow.version, workflow.timeout, call.input)
            )

    def opened(self, call: Wait) -> None:
        """A wait began."""
        match call:
            case WaitEvent():
                wait = OpenedWait(call.key, call.event_name, call.timeout, None)
            case WaitChild():
                wait = OpenedWait(call.key, None, None, None, call.run_key.run_id)
            case Sleep():
                wait = OpenedWait(call.key, None, None if call.until else call.seconds, call.until)
            case _:
                unreachable(call)
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
