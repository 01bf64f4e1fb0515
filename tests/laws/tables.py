"""One run's rows in memory, with a commit as the only atom; written like the statements in `store/queries`."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import msgspec

from durable.core.failures import ErrorInfo
from durable.core.replay.endings import NextChapter, Park, Settle
from durable.core.replay.history import (
    ELAPSED,
    REPLY,
    TIMER_KEYS,
    UNDO,
    Cancel,
    ChildEnd,
    Failure,
    History,
    Kind,
    Memo,
    OpenWait,
    Outcome,
    TimedOut,
    Value,
)
from durable.core.replay.tries import Tries, still_failing
from durable.core.runs import TERMINAL, RunKey
from durable.store.records import (
    AbandonedWait,
    AnsweredWait,
    CancelMemo,
    ChildMemo,
    ClaimedRun,
    DroppedTimer,
    Entry,
    Event,
    EventKind,
    GatheringWait,
    MetRequest,
    OpenedWait,
    OrderedStep,
    PatchMemo,
    PublishedMemo,
    Record,
    RecordedTry,
    ReplyMemo,
    StepMemo,
    UnwantedChild,
    Wake,
    Written,
)
from tests.laws.programs import EPOCH, SHARED

_WRITTEN: list[type[Entry]] = [
    StepMemo,
    PatchMemo,
    CancelMemo,
    ChildMemo,
    PublishedMemo,
    OrderedStep,
    DroppedTimer,
    OpenedWait,
    GatheringWait,
    AnsweredWait,
    MetRequest,
    ReplyMemo,
    RecordedTry,
    AbandonedWait,
    UnwantedChild,
]
"""In this order the statements of a flush write."""

RUN_ID = "01940000-0000-7000-8000-0123456789ab"

ROUNDING = 1e-5
"""Moments are stored to the microsecond."""


class Wait(msgspec.Struct, frozen=True):
    open: OpenWait
    wake_at: float | None
    created_at: float

    @property
    def place(self) -> tuple[float, float, int, str]:
        """Waits are loaded in this order."""
        return _none_last(self.wake_at), self.created_at, len(self.open.key), self.open.key


class Arrival(msgspec.Struct):
    event: Event
    is_routed: bool = False
    consumed_by: str | None = None
    reply: str | None = None


class Child(msgspec.Struct):
    begun: ChildMemo
    end: ChildEnd | None = None
    is_unwanted: bool = False


class Tables:
    """``now`` and all that follows from it are in seconds by the clock of the database, which counts from ``EPOCH``."""

    def __init__(self, deadline: float | None) -> None:
        self.status = "queued"
        self.epoch = self.attempts = self.set_asides = 0
        self.chapter = 1
        self.ended: dict[str, Memo] = {}
        """The memos of the chapter before."""
        self.deadline = deadline
        self.wake_at: float | None = None
        self.output: str | None = None
        self.shown_error = ""
        self.status_detail: str | None = None
        """What the run shows while steps of it are tried again."""
        self.error: ErrorInfo | None = None
        self.memos: dict[str, Memo] = {}
        self.waits: dict[str, Wait] = {}
        self.events: dict[str, Arrival] = {}
        self.children: dict[str, Child] = {}
        self.consumed: list[tuple[str, str]] = []
        """Waits and the events they took, as they were committed."""
        self.forgotten: list[str] = []
        self.sent: list[tuple[int, str]] = []
        """The calls that have sent events to another run, each with its chapter."""
        self.claimed_at = 0.0
        self._due: list[Wait] = []
        self.held: tuple[str, ...] = ()
        """The children for whose ends the run has parked because a cancel of it is held."""
        self.gathered: tuple[str, ...] = ()
        """The events that a wait for several had seen when the run parked."""
        self.sequels = 0
        """How many runs have begun because this one has not completed."""
        self.has_ended_unclaimed = False
        self.began_at: float | None = None
        """When this attempt was claimed first."""
        self.fired: dict[str, float] = {}
        """Timers that have fired, and when they were due."""
        self.has_jumped = False
        """Whether the clock has not always run evenly."""
        self.is_edited = False
        """Whether the code has changed, so that a timer may have the number, and the time, of another."""

    @property
    def is_ended(self) -> bool:
        return self.status in TERMINAL

    def history(self) -> History:
        return History(tuple(self.memos.values()), tuple(wait.open for wait in self._waits_in_order()))

    def _waits_in_order(self) -> list[Wait]:
        return sorted(self.waits.values(), key=lambda wait: wait.place)

    def unconsumed(self) -> list[Event]:
        return [arrival.event for arrival in self.events.values() if arrival.consumed_by is None]

    # what applications do

    def publish(self, name: str, kind: EventKind = "event", payload: str = "null") -> None:
        event_id = f"{len(self.events):04}"
        if kind in ("event", "request"):
            payload = f'"{name} {event_id}"' if name == SHARED else f'"{name}"'
        self.events[event_id] = Arrival(Event(RUN_ID, event_id, kind, name, payload))

    def end_child(self, run_id: str, end: ChildEnd) -> None:
        self.children[run_id].end = end
        if run_id not in self.events or self.events[run_id].consumed_by is None:
            self.events[run_id] = Arrival(Event(RUN_ID, run_id, "child", run_id, end.text))

    # what the dispatcher does

    def is_claimable(self, now: float) -> bool:
        return self.status == "queued" or (
            self.status in ("sleeping", "waiting_event") and self.wake_at is not None and self.wake_at <= now
        )

    def claim(self, now: float) -> ClaimedRun:
        self.status, self.wake_at, self.claimed_at, self.held = "running", None, now, ()
        self.epoch += 1
        began_at = None if self.began_at is None else moment_at(self.began_at)
        if self.began_at is None:
            self.began_at = now
        deadline_in = None if self.deadline is None else self.deadline - now
        return ClaimedRun(
            run_id=RUN_ID,
            epoch=self.epoch,
            version=1,
            attempts=self.attempts,
            set_asides=self.set_asides,
            input="null",
            claimed_at=moment_at(now),
            deadline_in=deadline_in,
            scheduled_at=None,
            began_at=began_at,
            chapter=self.chapter if self.chapter > 1 else None,
        )

    def wake(self, now: float) -> Wake:
        waits = self._waits_in_order()
        self._due = [wait for wait in waits if wait.wake_at is not None and wait.wake_at <= now]
        due = tuple(wait.open.key for wait in self._due)
        remaining = {
            wait.open.key: None if wait.wake_at is None else wait.wake_at - now
            for wait in waits
            if wait.open.key not in due
        }
        return Wake(due, remaining, tuple(self.unconsumed()))

    def take_over(self) -> None:
        """The worker is dead."""
        if self.status == "running":
            self.status = "queued"
            self.epoch += 1

    def route(self) -> list[Event]:
        """Returns what is for the run where it executes."""
        arrived = [arrival for arrival in self.events.values() if not arrival.is_routed]
        for arrival in arrived:
            arrival.is_routed = True
        if self.is_ended:
            return []
        if self.status == "running":
            return [arrival.event for arrival in arrived]
        kinds = {arrival.event.kind for arrival in arrived}
        asked = [arrival for arrival in arrived if arrival.event.kind in ("pause", "resume")]
        for arrival in asked:
            arrival.consumed_by = ""
        if "terminate" in kinds or ("cancel" in kinds and self.epoch == 0):
            self.status, self.error = "cancelled", ErrorInfo("RunCancelled", "enough")
            self.has_ended_unclaimed = True
            self.waits.clear()
        elif "cancel" in kinds or (asked and asked[-1].event.kind == "pause" and "terminate" in self._asked(())):
            self.status, self.wake_at = "queued", None
        elif asked and asked[-1].event.kind == "pause":
            self.wake_at = self.wake_at if self.status in ("sleeping", "paused") else None
            self.status, self.held = "paused", ()
        elif asked and self.status == "paused":
            self.status = "queued" if self.wake_at is None else "sleeping"
        elif self.status != "paused" and any(self._wakes(arrival.event) for arrival in arrived):
            self.status, self.wake_at = "queued", None
        return []

    def _wakes(self, event: Event) -> bool:
        if event.kind in ("cancel", "terminate", "pause"):
            return True
        if event.kind == "resume":
            return False
        if self.held:
            return event.kind == "child" and event.event_id in self.held
        kind = "child_result" if event.kind == "child" else event.kind
        return any(wait.open.kind == kind and wait.open.name == event.name for wait in self.waits.values())

    # what the worker that owns the run does

    def store_transaction(self, key: str, fn: str, text: str, epoch: int, now: float) -> None:
        assert (self.status, self.epoch) == ("running", epoch)
        self._remember(key, "transaction", fn, None, Value(text), moment_at(now))
        self.waits.pop(key, None)

    def commit(self, record: Record, now: float) -> Written:
        if (self.status, self.epoch) != ("running", record.epoch):
            return Written(is_ours=False)
        self._check_moments(record)
        self._check_pause(record)
        self._record(record, now)
        self._check_shown()
        if isinstance(record.ending, NextChapter):
            self._begin_chapter(record)
            return Written(is_ours=True)
        if isinstance(record.ending, Settle):
            self._settle(record.ending, now)
            assert record.sequel is None or self.is_ended
            self.sequels += record.sequel is not None
            return Written(is_ours=True, requeued=self._requeue_paused())
        requeued = isinstance(record.ending, Park) and self._park(record.ending)
        wake_in = None if self.wake_at is None else self.wake_at - now
        inbox = tuple(self.unconsumed()) if record.wants_inbox and record.ending is None else None
        return Written(True, wake_in, requeued, inbox)

    def _check_shown(self) -> None:
        failing = {wait.open.key: wait.open.tries for wait in self.waits.values() if wait.open.tries is not None}
        shown = [still_failing(key, tries).text for key, tries in failing.items() if tries.failures]
        assert not shown or self.shown_error in shown, f"{self.shown_error} is shown, and {shown} is so"

    def _check_pause(self, record: Record) -> None:
        """A pause that is met has been obeyed, or has been overtaken by something else."""
        met = {entry.event_id for entry in record.entries if isinstance(entry, MetRequest)}
        kinds = [(event_id, arrival.event.kind) for event_id, arrival in self.events.items()]
        pauses = [event_id for event_id, kind in kinds if kind == "pause" and event_id in met]
        others = {kind for event_id, kind in kinds if event_id in met and event_id not in pauses[-1:]}
        is_obeyed = isinstance(record.ending, Settle) and (
            record.ending.is_terminal or record.ending.status == "paused"
        )
        is_lifted = (
            record.is_cancelled or bool(others & {"cancel", "resume"}) or bool(self._asked(met) & {"cancel", "pause"})
        )
        assert not pauses or is_obeyed or is_lifted, f"the pause {pauses[-1]} is met and was not obeyed"

    def _asked(self, met: Collection[str]) -> set[EventKind]:
        return {event.kind for event in self.unconsumed() if event.event_id not in met}

    def _check_moments(self, record: Record) -> None:
        """What was seen or armed since the claim was so by the database's clock, and not before the claim."""
        claimed_at = moment_at(self.claimed_at)
        for entry in record.entries:
            if isinstance(entry, OpenedWait):
                assert not entry.is_timer or entry.until is not None
                assert not entry.is_timer or entry.until > claimed_at, f"{entry} was due before the claim"
            elif isinstance(
                entry, StepMemo | ReplyMemo | CancelMemo | ChildMemo | PublishedMemo | OrderedStep | AnsweredWait
            ):
                assert entry.at is None or entry.at >= claimed_at, f"{entry} was seen before the claim"

    def _record(self, record: Record, now: float) -> None:
        for entry in sorted(record.entries, key=lambda entry: _WRITTEN.index(type(entry))):
            self._enter(entry, now)
        if record.is_cancelled:
            self.deadline = None
        both = self.memos.keys() & self.waits.keys()
        assert not both, f"{both} have their answer, and tries are left"
        self.status_detail = record.status_detail or self.status_detail
        if record.shown_error is not None:
            self.shown_error = record.shown_error

    def _enter(self, entry: Entry, now: float) -> None:
        at = getattr(entry, "at", None) or moment_at(now)
        match entry:
            case StepMemo():
                outcome: Outcome = Value(entry.output or "")
                if entry.error is not None:
                    outcome = Failure(msgspec.json.decode(entry.error, type=ErrorInfo))
                self._remember(entry.key, entry.kind, entry.fn, entry.seq, outcome, at)
            case PatchMemo(key, output):
                self._remember(key, "patched", "", None, Value(output), at)
                self.memos[key] = msgspec.structs.replace(self.memos[key], carried=True)
            case ReplyMemo():
                self._remember(entry.key, "reply", entry.name, entry.seq, Value("null"), at)
                asked = self.events[entry.request_id]
                assert asked.event.kind == "request"
                assert asked.consumed_by == entry.key.removesuffix(REPLY), f"{entry} is about {asked}"
                assert asked.reply is None, f"{asked} is answered again by {entry}"
                asked.reply = entry.reply
            case CancelMemo():
                self._remember(Cancel.key, "cancel", entry.cause, entry.seq, Value(entry.reason), at)
            case ChildMemo():
                self._remember(entry.key, "child", entry.workflow_name, entry.seq, Value(entry.output), at)
                assert entry.child_run_id not in self.children
                self.children[entry.child_run_id] = Child(entry)
            case PublishedMemo():
                self._remember(entry.key, "publish", entry.event_name, entry.seq, Value(entry.output), at)
                assert (self.chapter, entry.key) not in self.sent, f"{entry} was sent twice"
                self.sent.append((self.chapter, entry.key))
            case OrderedStep(key, seq, seen_at):
                memo = self.memos[key]
                assert memo.kind in ("transaction", "execute")
                self.memos[key] = msgspec.structs.replace(memo, seq=seq, at=seen_at or memo.at)
            case OpenedWait():
                self._open(entry, now)
            case GatheringWait(key, until):
                self._gather(key, (until - EPOCH).total_seconds())
            case AnsweredWait():
                self._answer(entry, at, now)
            case MetRequest(event_id):
                self._consume(event_id, "")
            case RecordedTry():
                self._try(entry, now)
            case AbandonedWait(key) | DroppedTimer(key):
                self.waits.pop(key, None)
            case UnwantedChild(run_key, is_awaited):
                self.children[run_key.run_id].is_unwanted = True
                if not is_awaited and run_key.run_id not in self.events:
                    end = ChildEnd("cancelled", error=ErrorInfo("RunCancelled", "its parent cancelled it"))
                    dismissed = Event(RUN_ID, run_key.run_id, "child", run_key.run_id, end.text)
                    self.events[run_key.run_id] = Arrival(dismissed, is_routed=True)

    def _answer(self, answer: AnsweredWait, at: datetime, now: float) -> None:
        answered = self.waits.pop(answer.key)
        wait = answered.open
        value = ELAPSED if answer.payload is None else Value(answer.payload)
        self._remember(wait.key, wait.kind, wait.name, answer.seq, TimedOut() if answer.timed_out else value, at)
        is_by_time = wait.kind in ("sleep", "timer")
        assert is_by_time or answer.timed_out != (answer.event_id is not None), f"{answer} breaks a CHECK"
        assert not (answer.timed_out and wait.is_gathering), f"{answer} leaves the events that had come"
        if answer.payload is not None and answer.payload.startswith("["):
            taken = [
                arrival.event.payload
                for arrival in map(self.events.get, (answer.event_id or "", *answer.also))
                if arrival
            ]
            assert answer.payload == f"[{','.join(taken)}]", f"{answer} has the payloads of other events: {taken}"
        if wait.kind == "timer":
            self._fire(answered, answer, now)
        if answer.event_id is not None:
            for event_id in (answer.event_id, *answer.also):
                self._consume(event_id, answer.key)
                self.consumed.append((answer.key, event_id))

    def _fire(self, timer: Wait, answer: AnsweredWait, now: float) -> None:
        assert timer.wake_at is not None
        # The code of a limit that has a name need not have asked for the time.
        is_told = answer.at is not None or not answer.key.startswith(TIMER_KEYS)
        assert is_told, f"{answer} has no moment, although its code is woken at one"
        self.fired[answer.key] = timer.wake_at
        assert self.has_jumped or now > timer.wake_at - ROUNDING, f"{timer} has fired early, by {now}"
        if answer.at is not None and not self.has_jumped and not self.is_edited:
            late = (answer.at - EPOCH).total_seconds() - max(timer.wake_at, self.claimed_at)
            assert late < ROUNDING, f"{timer} fired {late} s late"

    def _remember(self, key: str, kind: Kind, name: str, seq: int | None, outcome: Outcome, at: datetime) -> None:
        assert key not in self.memos, f"{key} was recorded twice"
        self.memos[key] = Memo(key, kind, name, seq, False, outcome, at)

    def _open(self, opened: OpenedWait, now: float) -> None:
        assert opened.key not in self.memos, f"{opened.key} has its answer and is opened again"
        at = now + opened.wake_in if opened.wake_in is not None else None
        if opened.until is not None:
            at = (opened.until - EPOCH).total_seconds()
        name = opened.event_name or opened.child_run_id or ""
        self.waits.setdefault(opened.key, Wait(OpenWait(opened.key, opened.wait_type, name), at, now))

    def _gather(self, key: str, until: float) -> None:
        wait = self.waits[key]
        assert wait.open.kind == "event", f"{wait} gathers nothing"
        assert not wait.open.is_gathering, f"{wait} begins to gather twice"
        assert any(event.name == wait.open.name for event in self.unconsumed()), f"{wait} has nothing to gather"
        self.waits[key] = Wait(msgspec.structs.replace(wait.open, is_gathering=True), until, wait.created_at)

    def _try(self, recorded: RecordedTry, now: float) -> None:
        assert recorded.key not in self.memos, f"{recorded.key} has its answer and is tried again"
        tries = Tries.parse(recorded.payload)
        assert tries is not None
        before = self.waits.get(recorded.key)
        assert before is None or before.open.tries is not None, f"{recorded.key} is a wait"
        failed = 0 if before is None or before.open.tries is None else before.open.tries.failures
        assert tries.is_mark or tries.failures == failed + 1, f"{recorded.key} has failed {failed} times before {tries}"
        at = None if recorded.until is None else (recorded.until - EPOCH).total_seconds()
        wait = OpenWait(recorded.key, tries.kind, recorded.fn, tries)
        self.waits[recorded.key] = Wait(wait, at, now if before is None else before.created_at)

    def tries_of(self, key: str) -> Wait | None:
        """What is recorded of a step without an answer."""
        wait = self.waits.get(key)
        return None if wait is None or wait.open.tries is None else wait

    def _consume(self, event_id: str, key: str) -> None:
        arrival = self.events[event_id]
        assert arrival.consumed_by is None, f"event {event_id} was consumed twice"
        arrival.consumed_by, arrival.is_routed = key, True

    def _park(self, ending: Park) -> bool:
        assert self.waits, "the run parks and waits for nothing"
        self.held = held = ending.held
        self.gathered = ending.gathered
        is_gathering = any(wait.open.is_gathering for wait in self.waits.values())
        assert is_gathering or not self.gathered, "events wake nobody, and no wait has them"
        if held:
            self.status, self.set_asides, self.wake_at = "waiting_event", 0, None
            if any(event.kind in ("terminate", "pause") or event.event_id in held for event in self.unconsumed()):
                self.status = "queued"
                return True
            return False
        for wait in self.waits.values():
            assert wait not in self._due, f"{wait} was due when the run was claimed, and would wake it for ever"
        assert all(wait.open.tries is None or wait.wake_at is not None for wait in self.waits.values()), (
            "a mark is left"
        )
        names = any(wait.open.kind in ("event", "request", "child_result") for wait in self.waits.values())
        self.status, self.set_asides = "waiting_event" if names else "sleeping", 0
        moments = [wait.wake_at for wait in self.waits.values()] + [self.deadline]
        self.wake_at = min((moment for moment in moments if moment is not None), default=None)
        if any(self._wakes(event) for event in self.unconsumed() if event.event_id not in ending.gathered):
            self.status, self.wake_at = "queued", None
            return True
        return False

    def _begin_chapter(self, record: Record) -> None:
        assert Cancel.key not in self.memos, "a run that was cancelled continues as new"
        met = {self.events[entry.event_id].event.kind for entry in record.entries if isinstance(entry, MetRequest)}
        assert not met & {"cancel", "terminate"}, "a run has met a request and continues as new"
        self.status, self.ended = "queued", self.memos
        self.epoch += 1
        self.chapter += 1
        self.attempts = self.set_asides = 0
        self.error = self.began_at = self.deadline = None
        self.memos, self.waits, self.fired = {}, {}, {}
        for arrival in self.events.values():
            if arrival.event.kind == "child" and arrival.consumed_by is None:
                arrival.consumed_by, arrival.is_routed = "", True
            if arrival.event.kind == "request" and arrival.reply is None:
                arrival.consumed_by = None

    def _requeue_paused(self) -> bool:
        if self.status != "paused" or not self.ends_of_pause():
            return False
        self.status, self.wake_at = "queued", None
        return True

    def ends_of_pause(self) -> list[Event]:
        """What has come and ends a pause: a termination, or what came after the pause."""
        kinds = [arrival.event.kind for arrival in self.events.values()]
        last = len(kinds) - 1 - kinds[::-1].index("pause") if "pause" in kinds else -1
        later = {event_id for place, event_id in enumerate(self.events) if place > last}
        return [
            event
            for event in self.unconsumed()
            if event.kind == "terminate" or (event.kind in ("cancel", "resume") and event.event_id in later)
        ]

    def _settle(self, ending: Settle, now: float) -> None:
        self.status, self.output = ending.status, ending.output
        self.error = None if ending.error is None else msgspec.json.decode(ending.error, type=ErrorInfo)
        self.attempts += ending.failed_attempts
        if ending.failed_attempts and not ending.is_terminal:
            self.began_at = None
        self.set_asides = ending.set_asides
        if ending.status == "sleeping":
            assert ending.wake_in is not None
            self.wake_at = min(now + ending.wake_in, self.deadline or float("inf"))
        if ending.is_retry:
            assert ending.error is not None
            self._forget_failed(msgspec.json.decode(ending.error, type=dict[str, Any]).get("waits", ()))
        if ending.is_retry or ending.is_terminal:
            self.waits.clear()

    def _forget_failed(self, named: Collection[str]) -> None:
        last = max((memo.seq or 0 for memo in self.memos.values()), default=0)
        timed_out = [memo for memo in self.memos.values() if isinstance(memo.outcome, TimedOut)]
        undone = {
            memo.key.removesuffix(UNDO)
            for memo in self.memos.values()
            if memo.kind == "undo" and isinstance(memo.outcome, Value)
        }
        failed = [
            memo
            for memo in self.memos.values()
            if self._is_failed(memo) or (memo.key in undone and memo.kind in ("execute", "transaction", "child"))
        ]
        failed += [memo for memo in timed_out if memo.kind == "timer" or memo.key in named or memo.seq == last]
        if not failed:
            return
        first = min(memo.seq or 0 for memo in failed)
        failed += [memo for memo in timed_out if 0 < first < (memo.seq or 0) and memo not in failed]
        timers = [memo for memo in self.memos.values() if memo.kind == "timer" and memo not in failed]
        failed += [memo for memo in timers if (memo.seq or 0) > first]
        for memo in failed:
            self.forgotten.append(memo.key)
            self.fired.pop(memo.key, None)
            del self.memos[memo.key]
            if memo.kind == "child":
                self.memos.pop(f"{memo.key}:result", None)
                child_id = self.child_of(memo)
                end = self.children[child_id].end
                if end is None or end.status == "completed":  # it was undone; if its end is not read yet, it never is
                    continue
                arrival = self.events[child_id]
                arrival.is_routed, arrival.consumed_by = True, arrival.consumed_by or ""
        for memo in list(self.memos.values()):
            if memo.seq is None or memo.seq > first:
                self.memos[memo.key] = msgspec.structs.replace(memo, seq=None, carried=True)

    def _is_failed(self, memo: Memo) -> bool:
        if memo.kind == "child":
            end = self.children[self.child_of(memo)].end
            return end is not None and end.status != "completed"
        return isinstance(memo.outcome, Failure) or memo.kind in ("cancel", "undo")

    @staticmethod
    def child_of(memo: Memo) -> str:
        """The run id of the child that it began."""
        assert isinstance(memo.outcome, Value)
        return str(RunKey.parse(msgspec.json.decode(memo.outcome.text)).run_id)


def moment_at(now: float) -> datetime:
    return EPOCH + timedelta(seconds=now)


def _none_last(number: float | None) -> float:
    return float("inf") if number is None else number
