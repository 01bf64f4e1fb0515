"""What a run has to write since its last flush, gathered call by call."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from durable.core.errors import unreachable
from durable.core.replay.commands import (
    Drawn,
    Execute,
    Patch,
    Publish,
    Reply,
    Sleep,
    StartChild,
    Wait,
    WaitChild,
    WaitEvent,
    WaitRequest,
)
from durable.core.replay.endings import Ending, Park
from durable.core.replay.history import Cancel, TimedOut, Value
from durable.core.replay.tries import Tries, still_failing
from durable.core.runs import RunKey
from durable.store.records import (
    AbandonedWait,
    AnsweredWait,
    CancelMemo,
    ChildMemo,
    ClaimedRun,
    DroppedTimer,
    Event,
    GatheringWait,
    MetRequest,
    OpenedWait,
    OrderedStep,
    PatchMemo,
    PublishedMemo,
    Record,
    RecordedTry,
    ReplyMemo,
    UnwantedChild,
)
from durable.store.sequels import Sequel
from durable.worker.run.step_calls import Finished


class Recording:
    """``record`` is what has gathered; ``take`` hands it over and begins the next one.

    A timer is not part of it until it has been armed for a while: most are cancelled before that, as the one of
    ``asyncio.wait_for`` is, and cost nothing. Until then no step waits for it to be written, and a crash has it start
    again in full.
    """

    __slots__ = ("_opened", "_tried", "_young_timers", "record")

    def __init__(self, claimed: ClaimedRun) -> None:
        self.record = Record(claimed.run_id, claimed.epoch, claimed.parent, is_keyed=claimed.is_keyed)
        self._young_timers: dict[str, OpenedWait] = {}
        self._opened: list[OpenedWait] = []
        self._tried: dict[str, int] = {}
        """Where in the record the tries of a step are: a statement can write a row only once."""

    def take(self, ending: Ending | None, sequel: Sequel | None = None) -> Record:
        """Returns everything that has gathered, and how the run leaves, if it does, and what begins then."""
        if isinstance(ending, Park):
            self.keep_timers()
        record = self.record
        record.ending, record.sequel = ending, sequel
        self.record = Record(record.run_id, record.epoch, record.parent, is_keyed=record.is_keyed)
        self._tried.clear()
        return record

    def armed(self, key: str, until: datetime) -> None:
        """Records that a timer was armed."""
        self._young_timers[key] = OpenedWait(key, until=until, is_timer=True)

    def keep_timers(self) -> None:
        """Has the timers written that are still armed."""
        self.record.entries.extend(self._young_timers.values())
        self._young_timers.clear()

    def step(self, call: Execute | Drawn, finished: Finished, seq: int, at: datetime | None) -> None:
        """Records that a step finished. For a transaction, only its place in the order must still be written; a child
        must still be begun, an event sent, a reply given. ``at`` is when the run saw the answer, ``None`` if it did not
        ask; so it is below."""
        if finished.is_stored:
            self.record.entries.append(OrderedStep(call.key, seq, at))
        elif isinstance(call, StartChild) and isinstance(finished.outcome, Value):
            self.record.entries.append(
                ChildMemo(
                    key=call.key,
                    seq=seq,
                    run_key=call.begun(finished.outcome.text),
                    workflow_name=call.workflow.name,
                    version=call.workflow.version,
                    input=call.input,
                    options=call.options,
                    at=at,
                )
            )
        elif isinstance(call, Reply):
            self.record.entries.append(
                ReplyMemo(call.key, seq, call.request_name, call.request_id, call.text, call.is_refused, at)
            )
        elif isinstance(call, Publish) and isinstance(finished.outcome, Value):
            self.record.entries.append(
                PublishedMemo(
                    key=call.key,
                    seq=seq,
                    event_id=call.published(finished.outcome.text),
                    event_name=call.event_name,
                    target=call.target,
                    payload=call.payload,
                    at=at,
                )
            )
        else:
            self.record.entries.append(finished.memo(call, seq, at))

    def tried(self, call: Execute, tries: Tries, until: datetime | None) -> None:
        """Records the tries of a step that is due again at that moment, or that may be called only once."""
        entry = RecordedTry(call.key, call.name, until, tries.text)
        place = self._tried.setdefault(call.key, len(self.record.entries))
        self.record.entries[place : place + 1] = [entry]
        if tries.failures:
            self.record.shown_error = still_failing(call.key, tries).text

    def tries_are_over(self, key: str, tries: Tries, still_failing: str, *, is_deleted: bool) -> None:
        """Records that a step has its answer, or that nothing waits for it any longer, and what other steps have to
        show. ``is_deleted``: its transaction has deleted what was recorded."""
        if not is_deleted:
            self.record.entries.append(AbandonedWait(key))
        if tries.failures:
            self.record.shown_error = still_failing

    def opened(self, call: Wait) -> None:
        """Records that a wait began."""
        match call:
            case WaitEvent():
                is_request = isinstance(call, WaitRequest)
                wait = OpenedWait(call.key, call.event_name, wake_in=call.timeout, is_request=is_request)
            case WaitChild():
                wait = OpenedWait(call.key, child_run_id=call.run_key.run_id)
            case Sleep():
                wait = OpenedWait(call.key, wake_in=None if call.until else call.seconds, until=call.until)
            case _:
                unreachable(call)
        self.record.entries.append(wait)
        self._opened.append(wait)

    def take_opened(self) -> list[OpenedWait]:
        """Returns the waits that have begun since the last time."""
        opened, self._opened = self._opened, []
        return opened

    def answered(
        self,
        key: str,
        outcome: Value | TimedOut,
        event_ids: tuple[str, ...],
        seq: int,
        at: datetime | None,
        *,
        is_unfit: bool = False,
    ) -> None:
        """Records that a wait ended, and the events that it took. ``is_unfit``: they have set the run aside."""
        young = self._young_timers.pop(key, None)
        if young is not None:
            self.record.entries.append(young)
        payload = outcome.text if isinstance(outcome, Value) and event_ids else None
        event_id, also = event_ids[0] if event_ids else None, event_ids[1:]
        answer = AnsweredWait(key, seq, isinstance(outcome, TimedOut), event_id, payload, at, is_unfit, also)
        self.record.entries.append(answer)

    def gathering(self, key: str, until: datetime) -> None:
        """Records that the first of several events has come, and when the wait for them ends now."""
        self.record.entries.append(GatheringWait(key, until))

    def abandoned(self, key: str) -> None:
        """Records that the workflow no longer waits for that wait."""
        if self._young_timers.pop(key, None) is None:
            self.record.entries.append(AbandonedWait(key))

    def dropped(self, key: str) -> None:
        """Records that changed code no longer arms a timer that is open."""
        self.record.entries.append(DroppedTimer(key))

    def unseen(self, call: Execute, finished: Finished) -> Finished:
        """Records that a step finished of which the run is not told yet; its place in the order is recorded when it is.
        Returns what it is told then."""
        if not finished.is_stored:
            self.record.entries.append(finished.memo(call, None, None))
        return msgspec.structs.replace(finished, is_stored=True)

    def unwanted(self, child: RunKey, *, is_awaited: bool) -> None:
        """Records that the workflow wants that child cancelled."""
        self.record.entries.append(UnwantedChild(child, is_awaited))

    def patched(self, patch: Patch) -> None:
        """Records which way the run goes at a place where its code was changed."""
        self.record.entries.append(PatchMemo(patch.key, "true" if patch.is_patched else "false"))

    def ordered(self, places: Iterable[tuple[str, int, datetime | None]]) -> None:
        """Records the places in the order that transactions were given, and when the run saw them."""
        self.record.entries.extend(OrderedStep(key, seq, at) for key, seq, at in places)

    def met(self, request: Event) -> None:
        """Records that a request was met."""
        self.record.entries.append(MetRequest(request.event_id))

    def cancelled(self, cancel: Cancel, seq: int, at: datetime | None) -> None:
        """Records that the run was cancelled."""
        self.record.entries.append(CancelMemo(seq, cancel.cause, cancel.text, at))
        self.record.is_cancelled = True
