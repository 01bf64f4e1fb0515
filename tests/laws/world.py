"""A worker and its database, simulated: one real ``Execution`` over rows in memory, crashing when told to.

Every choice (which step ends next, when a flush commits, when an event comes) is drawn from one seed. The world itself
checks what durable promises while it runs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from durable import Context, RunKey, RunRetryPolicy, Workflow, WorkflowCodeError, workflow
from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.failures import ErrorInfo
from durable.core.replay.commands import Drawn, Execute, Publish, ReadChild, StartChild, Transact
from durable.core.replay.endings import NextChapter, Park, Settle
from durable.core.replay.history import Cancel, ChildEnd, Failure, History, Memo, Value
from durable.core.replay.loop import ReplayLoop
from durable.core.replay.tries import FailedTry
from durable.store.records import (
    AbandonedWait,
    AnsweredWait,
    CancelMemo,
    DroppedTimer,
    OpenedWait,
    Record,
    Written,
)
from durable.store.sequels import Sequel
from durable.worker.clock import Clock
from durable.worker.run.execution import Execution
from durable.worker.run.performing import _YOUNG_SECONDS
from durable.worker.run.step_calls import Before, Ended, Finished, Interrupted
from durable.worker.run.step_tasks import _UNWIND_SECONDS
from tests.laws.case import Case
from tests.laws.programs import EPOCH, REQUESTS, SHARED, UNDO, Interpreter, Leaf, Node, Trace, leaf_at, leaves_of
from tests.laws.promises import check_status, check_the_end, check_times, is_of_timer, times_fired
from tests.laws.tables import ROUNDING, RUN_ID, Tables
from tests.laws.virtual_clock import VirtualClock

_MOST_MOVES = 3000
_JUMPS = (-1.7, 2.3)
"""In seconds: another server takes over, whose clock is another one."""
_MOST_TRIES = 2
_DELAYS = (0.0, 0.4, 1.0, 1.3, 2.5)
"""In seconds: how long a step waits for its next try."""
_OUTAGES = (0.3, 0.9, 1.6, 4.0)
"""How many seconds it may take until some worker claims what is due."""


@workflow(name="program")
async def _program(ctx: Context) -> Any:
    raise NotImplementedError


class Crash(BaseException):
    """The worker is gone, with all that it held in memory."""


class World:
    """``run`` takes the run from its begin to its end. It is the host of the execution, too."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.codec: Codec = JsonCodec()
        self.tables = Tables(case.deadline)
        self.trace: Trace = []
        self.moments = 0
        self.started: Counter[str] = Counter()
        self.committed: Counter[str] = Counter()
        self.clock: Clock
        self._time = VirtualClock(0.0)
        self._jumped = 0.0
        """By how many seconds the database's clock is ahead of that of the workers."""
        self._names = [f"to {path}" for path, _ in leaves_of(case.program)]
        self._asked_for = {f"to {path}" for path, leaf in leaves_of(case.program) if leaf.kind in REQUESTS}
        self._random = random.Random(case.seed)
        self._excused: Counter[str] = Counter()
        self._attempts = 0
        self._told: dict[str, str] = {}
        self._events_left = self._random.randrange(5) if case.events is None else case.events
        self._program = case.program
        self._leaves = dict(leaves_of(case.program))
        self._workflow = self._make_workflow()
        self._restart()

    def _make_workflow(self) -> Workflow[Any, Any]:
        async def program(ctx: Context) -> Any:
            self.trace = []
            result = await Interpreter(ctx, self.trace).run(self._program)
            if ctx.chapter < self.case.chapters:
                with suppress(WorkflowCodeError):  # it was cancelled
                    await ctx.continue_as_new()
            return result

        made = copy(_program)  # to read a signature thousands of times is slow
        made.function, made.retry = program, RunRetryPolicy(max_attempts=self.case.max_attempts, backoff=1)
        return made

    def _restart(self) -> None:
        self._loop = ReplayLoop()  # type: ignore[abstract]  # what it lacks, no step here calls
        self.clock = self._time = VirtualClock(self._time.now)  # without the timers of before
        self._execution: Execution | None = None
        self._resident: Execution | None = None
        self._is_marked = False
        self._in_flight: Record | None = None
        self._reply: Written | None = None
        self._gates: dict[str, tuple[Execute, asyncio.Future[Ended]]] = {}
        self._unwinding: dict[asyncio.Future[None], float] = {}
        self._let: set[str] = set()
        """The steps that may start and have not had their turn."""
        self._is_stopping = False
        self._broken: BaseException | None = None

    @property
    def _now(self) -> float:
        return self._time.now + self._jumped

    # the course of things

    def run(self) -> Tables:
        with quiet():
            try:
                for _ in range(_MOST_MOVES):
                    if self.tables.is_ended:
                        self._check_counts(self.tables.memos)
                        may_differ = self.tables.is_edited or self.case.max_attempts > 1
                        check_the_end(self.tables, self.trace, self._leaf_at, may_differ=may_differ)
                        return self.tables
                    if self.tables.set_asides:
                        return self.tables
                    self._move()
            finally:
                self._drop()
        raise AssertionError(f"no end after {_MOST_MOVES} moves; the run is {self.tables.status}")

    def count_moments(self) -> int:
        """How many moments there are until the end."""
        self.run()
        return self.moments

    def history_at(self, moment: int) -> History:
        """What is durable at that moment, or at the end."""
        with quiet():
            try:
                while self.moments < moment and not self.tables.is_ended:
                    self._move()
            finally:
                self._drop()
        return self.tables.history()

    def change_code(self, program: Node) -> None:
        """The worker is gone, and the next one has another program."""
        self._program = program
        self._leaves |= dict(leaves_of(program))
        self._told.clear()
        self._excuse()
        self._restart()
        self.tables.is_edited = True
        self.tables.take_over()

    def _is_once(self, key: str) -> bool:
        """Whether that call may be made at most once. A compensation of it may be made again."""
        return self._leaf_at(key).kind == "once" and not key.endswith(UNDO)

    def _leaf_at(self, key: str) -> Leaf:
        """The leaf that makes, or made, the call of that key."""
        return leaf_at(self._leaves, key)

    def _move(self) -> None:
        try:
            self._pass_moment()
            self._random.choice(list(self._moves()))()
        except Crash:
            self._drop()
            self._excuse()
            self._restart()
            self.tables.take_over()
        if self._broken is not None:
            raise AssertionError("the engine broke") from self._broken
        assert not self.tables.set_asides or self.tables.is_edited, f"set aside: {self.tables.error}"

    def _pass_moment(self) -> None:
        self.moments += 1
        if self.moments == self.case.request_at:
            self.tables.publish("", "terminate" if self.case.request == "terminate" else "cancel", '"enough"')
        for moments, kind in ((self.case.pauses, "pause"), (self.case.resumes, "resume")):
            if self.moments in moments:
                self.tables.publish("", kind)  # type: ignore[arg-type]  # mypy forgets that these are literals
        if self.moments in self.case.jumps:
            self._jumped += self._random.choice(_JUMPS)
            self.tables.has_jumped = True
        if self.moments in self.case.crashes:
            raise Crash
        if self.moments in self.case.stops and self._execution is not None:
            end = self._execution.interrupt if self._is_stopping else self._execution.drain
            self._is_stopping = True
            self._do(end)

    def _moves(self) -> Iterator[Callable[[], None]]:
        """What may happen next; at least one thing."""
        found = False
        for move in self._inner_moves():
            found = True
            yield move
        if self._events_left:
            yield self._publish
        if self._random.random() < 0.2 or not found:
            yield self._let_time_pass

    def _inner_moves(self) -> Iterator[Callable[[], None]]:
        if any(not arrival.is_routed for arrival in self.tables.events.values()):
            yield self._route
        if self._execution is None and self.tables.is_claimable(self._now):
            yield self._claim
        if self._is_marked:
            yield self._write
        if self._in_flight is not None:
            yield self._commit if self._reply is None else self._answer
        for key in list(self._gates):
            yield partial(self._finish, key)
        for run_id, child in self.tables.children.items():
            if child.end is None:
                yield partial(self._end_child, run_id)
        for gate in self._unwinding:
            yield partial(self._do, gate.set_result, None)

    def _do(self, callback: Callable[..., object], *arguments: Any) -> None:
        self._loop.call_soon(callback, *arguments)
        self._loop.run_until_quiet()
        self._unwinding = {gate: since for gate, since in self._unwinding.items() if not gate.done()}
        self._check_trace()
        self._check_what_may_start()

    def _drop(self) -> None:
        for execution in (self._execution, self._resident):
            if execution is not None:
                execution.close()
        self._loop.discard()

    def _excuse(self) -> None:
        """What has started and has no memo may start once more; in the same attempt of the run, unless that was to
        happen once at most."""
        is_another, self._attempts = self._attempts != self.tables.attempts, self.tables.attempts
        for key in self.started:
            if key not in self.tables.memos and (is_another or not self._is_once(key)):
                self._excused[key] = self.started[key]

    def _let_time_pass(self) -> None:
        later = [moment for moment in (self._time.next_timer(), self._next_wake()) if moment is not None]
        if later:
            self._time.now = max(self._time.now, min(later))
            if self._execution is None and self._random.random() < 0.3:
                self._time.now += self._random.choice(_OUTAGES)
            for timer in self._time.take_due():
                self._do(timer.fire)
        elif self.tables.status == "paused" and all(arrival.is_routed for arrival in self.tables.events.values()):
            ends = self.tables.ends_of_pause()
            assert not ends, f"these requests ended no pause: {ends}"
            self.tables.publish("", "resume")
        elif self.tables.status == "waiting_event" and all(
            arrival.is_routed for arrival in self.tables.events.values()
        ):
            awaited = {wait.open.name for wait in self.tables.waits.values()} - {""}
            awaited = set(self.tables.held) or awaited
            kinds = {wait.open.name: wait.open.kind for wait in self.tables.waits.values()}
            lost = [
                event
                for event in self.tables.unconsumed()
                if event.name in awaited and kinds.get(event.name, event.kind) in (event.kind, "child_result")
            ]
            lost = [event for event in lost if event.event_id not in self.tables.gathered]
            assert not lost, f"these events woke nobody: {lost}"
            messages = {
                (wait.open.name, wait.open.kind)
                for wait in self.tables.waits.values()
                if wait.open.kind in ("event", "request")
            }
            if messages and not self.tables.held:
                self.tables.publish(*self._random.choice(sorted(messages)))

    def _next_wake(self) -> float | None:
        if self._execution is not None or self.tables.wake_at is None or self.tables.status == "paused":
            return None
        return self.tables.wake_at - self._jumped

    # what comes from outside

    def _publish(self) -> None:
        self._events_left -= 1
        name = self._random.choice([SHARED] * (1 + len(self._names)) + self._names)
        self.tables.publish(name, "request" if name in self._asked_for else "event")

    def _end_child(self, run_id: str) -> None:
        child = self.tables.children[run_id]
        key = msgspec.json.decode(child.begun.input)
        if child.is_unwanted and self._random.random() < 0.8:
            end = ChildEnd("cancelled", error=ErrorInfo("RunCancelled", "enough"))
        elif self._is_to_fail(key):
            end = ChildEnd("failed", error=ErrorInfo("Refused", key))
        else:
            end = ChildEnd("completed", msgspec.Raw(f'"{key}"'.encode()))
        self.tables.end_child(run_id, end)

    def _is_to_fail(self, key: str) -> bool:
        return self.tables.attempts < self._leaf_at(key).fails

    def _route(self) -> None:
        for event in self.tables.route():
            if self._execution is not None:
                self._do(self._execution.deliver, event)

    def _claim(self) -> None:
        resident, self._resident = self._resident, None
        claimed = self.tables.claim(self._now)
        self._claimed_at = self._time.now
        is_first = claimed.epoch == 1
        if resident is not None and resident.attempt.claimed.epoch == claimed.epoch - 1 and self._random.random() < 0.7:
            self._execution = resident
            self._do(resident.resume, claimed, self.tables.wake(self._now))
            return
        if resident is not None:
            resident.close()
        self._excuse()
        self._execution = Execution(self, self._workflow, "program_0", claimed, self.tables.history())
        self._do(self._execution.begin, None if is_first else self.tables.wake(self._now))

    # the journal

    def mark(self, execution: Execution) -> None:
        self._is_marked = True

    def _write(self) -> None:
        assert self._execution is not None
        self._is_marked = False
        self._in_flight = self._execution.take_record()
        self._check_young(self._in_flight)
        if self._in_flight.ending is not None and not self._is_stopping and self.case.request != "terminate":
            assert not self._waits_for_unwinding(), "the run leaves while steps that it has cancelled are unwinding"

    def _commit(self) -> None:
        assert self._in_flight is not None
        if self._in_flight.epoch == self.tables.epoch:
            self._check_held(self._in_flight)
        self._reply = self.tables.commit(self._in_flight, self._now)
        if self._reply.is_ours and isinstance(self._in_flight.ending, NextChapter):
            self._check_counts(self.tables.ended)
            for counted in (self.started, self.committed, self._excused, self._told):
                counted.clear()

    def _check_held(self, record: Record) -> None:
        """When the code is cancelled, the children that it awaits have ended; and it is not told of their ends before,
        if they were asked to cancel because of that. An attempt that failed may have asked them for another reason."""
        awaited = {wait.open.key: wait.open.name for wait in self.tables.waits.values()}
        is_cancelled = Cancel.key in self.tables.memos or self.tables.attempts > 0
        for entry in record.entries:
            if isinstance(entry, CancelMemo):
                is_cancelled = True
                for key, child in awaited.items():
                    begun = self.tables.children.get(child)
                    is_clean = not self._is_held(key) or (begun is not None and begun.end is not None)
                    assert is_clean, f"{key} was given up before {begun} had ended"
            elif isinstance(entry, OpenedWait):
                awaited[entry.key] = entry.child_run_id or ""
            elif isinstance(entry, AnsweredWait | AbandonedWait | DroppedTimer):
                begun = self.tables.children.get(awaited.pop(entry.key, ""))
                is_told = isinstance(entry, AnsweredWait) and begun is not None and begun.is_unwanted
                # A clock that jumps back takes the deadline back, because of which the child was cancelled.
                is_in_order = is_cancelled or self.tables.has_jumped or not is_told or not self._is_held(entry.key)
                assert is_in_order, f"{entry} comes before the cancel"

    def _is_held(self, key: str) -> bool:
        return key.endswith(":result") and self._leaf_at(key.removesuffix(":result")).kind == "child"

    def sequel(self, execution: Execution, ending: Settle) -> Sequel | None:
        if ending.status == "completed":
            return None
        return Sequel(execution.run_key.run_id, RunKey("sequel_0", RUN_ID), 1, None, "null", None, None)

    def _answer(self) -> None:
        written, self._in_flight, self._reply = self._reply, None, None
        execution = self._execution
        assert execution is not None
        self._do(execution.flushed, written)
        if not self._is_marked and not self.tables.is_ended and not execution.is_taking_turns:
            for key, shown in self.trace:
                assert shown != "cancelled" or key not in self.tables.waits, f"{key} was given up and is still open"

    def _check_young(self, record: Record) -> None:
        """A timer is not written before it is old, unless the run parks or the timer has fired."""
        is_young = self._time.now - self._claimed_at < _YOUNG_SECONDS - ROUNDING
        if is_young and not isinstance(record.ending, Park):
            fired = {entry.key for entry in record.entries if isinstance(entry, AnsweredWait)}
            for entry in record.entries:
                early = isinstance(entry, OpenedWait) and entry.is_timer and entry.key not in fired
                assert not early, f"{entry} was written young"

    def _waits_for_unwinding(self) -> bool:
        """Whether cancelled steps have not ended, and not for as long that nobody waits for them any more."""
        return any(
            not gate.done() and self._time.now - since < _UNWIND_SECONDS for gate, since in self._unwinding.items()
        )

    def left(self, execution: Execution, written: Written | None) -> None:
        if written is None:
            self._broken = sys.exception() or AssertionError("the run was given up")
        self._execution = None
        if execution.is_parked and not self._is_stopping:
            self._resident = execution
        else:
            execution.close()
        if self._is_stopping:
            self._unwinding.clear()  # of the worker that has stopped, which waits for them no longer
        self._is_stopping = False

    # the steps

    def run_step(self, execution: Execution, call: Execute, before: Before) -> asyncio.Task[Ended]:
        assert not self._is_stopping, f"{call} was started while the worker stops"
        assert execution._hold is None, f"{call} was started while a cancel is held"
        assert execution._pause is None, f"{call} was started although the run is to pause"
        assert call.key not in self.tables.memos, f"{call} has its memo and was started again"
        assert dict(self.trace).get(call.key) != "cancelled", f"{call} was started after it was given up"
        if call.key not in self._let:
            self._check_seen_is_durable(call)
        assert not self._waits_for_unwinding(), f"{call} was started beside steps that were cancelled"
        self._check_tries(call, before)
        self.started[call.key] += 1
        return self._loop.create_task(self._step(call))

    def _check_tries(self, call: Execute, before: Before) -> None:
        """What came before is durable, and the next try is not early."""
        recorded = self.tables.tries_of(call.key)
        tries = None if recorded is None else recorded.open.tries
        assert before.failures == (0 if tries is None else tries.failures), f"{call} has failed otherwise: {recorded}"
        assert before.failures <= _MOST_TRIES
        if call.is_at_most_once:
            assert tries is not None and tries.is_mark, f"{call} is made before that is durable"
        elif recorded is not None:
            assert recorded.wake_at is not None
            assert self.tables.has_jumped or self._now > recorded.wake_at - ROUNDING, f"{call} is tried again early"

    def _check_seen_is_durable(self, call: Execute) -> None:
        for key, _ in self.trace:
            assert is_of_timer(key) or self._is_durable(key), f"{call} was started before {key} was durable"
        assert times_fired(self.trace) <= len(self.tables.fired), f"{call} was started before a timer was durable"

        if self._execution is not None and not self._execution.is_taking_turns:  # else it is still to be performed
            check_status(self.tables, self.trace)

    def _check_what_may_start(self) -> None:
        """What may start and is not started at once may be overtaken by the answers to what was."""
        startable = {} if self._execution is None else self._execution._steps.startable
        for key in startable.keys() - self._let:
            self._check_seen_is_durable(startable[key])
        self._let = set(startable)

    def _is_durable(self, key: str) -> bool:
        if dict(self.trace)[key] == "cancelled":
            return True
        memo = self.tables.memos.get(key)
        if memo is not None and memo.kind == "child":
            memo = self.tables.memos.get(f"{key}:result")
        return memo is not None and (memo.seq is not None or memo.carried)

    async def _step(self, call: Execute) -> Ended:
        gate: asyncio.Future[Ended] = self._loop.create_future()
        self._gates[call.key] = call, gate
        try:
            return await gate
        except asyncio.CancelledError:
            self._gates.pop(call.key, None)
            if isinstance(call, Transact) and self._random.random() < 0.3:
                self._store(call)  # the cancel met the commit
                raise
            if self._random.random() < 0.3:
                slow: asyncio.Future[None] = self._loop.create_future()
                self._unwinding[slow] = self._time.now
                await slow
            raise

    def _finish(self, key: str) -> None:
        call, gate = self._gates.pop(key)
        if self._is_stopping and self._random.random() < 0.5:
            self._excused[key] = self.started[key]
            self._do(gate.set_exception, Interrupted("the worker is stopping"))
            return
        tries = self.tables.tries_of(key)
        failures = 0 if tries is None or tries.open.tries is None else tries.open.tries.failures
        if not call.is_at_most_once and failures < _MOST_TRIES and self._random.random() < 0.2:
            self._excused[key] += 1
            self._do(gate.set_result, FailedTry(ErrorInfo("Refused", key), self._random.choice(_DELAYS)))
            return
        if self._is_to_fail(key) and not isinstance(call, ReadChild):
            failure = Failure(ErrorInfo("Refused", key))
            self._do(gate.set_result, Finished(failure, 1, 0.0, None, is_stored=False))
            return
        text = _typed(key) if call.name == "do_typed" else f'"{key}"'
        if isinstance(call, ReadChild):
            text = '"running"'
        if isinstance(call, Transact):
            self._store(call)
            self._pass_moment()
        if not gate.done():
            self._do(gate.set_result, Finished(Value(text), 1, 0.0, None, isinstance(call, Transact)))

    def _store(self, call: Transact) -> None:
        """The transaction commits, with its memo."""
        assert self._execution is not None
        self.tables.store_transaction(
            call.key, call.name, f'"{call.key}"', self._execution.attempt.claimed.epoch, self._now
        )
        self.committed[call.key] += 1

    def draw(self, execution: Execution, call: Drawn) -> Finished:
        return Finished(Value(self._drawn(call)), 1, 0.0, None, is_stored=False)

    def _drawn(self, call: Drawn) -> str:
        assert call.key not in self.tables.memos, f"{call} is drawn again"
        source = self._random if self.case.drawn_from is None else random.Random(f"{self.case.drawn_from} {call.key}")
        uuid = UUID(int=source.getrandbits(128))
        if isinstance(call, StartChild):
            return StartChild.answer(RunKey("child_0", str(uuid)))
        if isinstance(call, Publish):
            return Publish.answer(str(uuid))
        match call.source:
            case "random_uuid7":
                return f'"{uuid}"'
            case "random_uint64":
                return str(uuid.int % 2**64)
            case "random":
                return repr(source.random())
            case "now":
                return f'"{(EPOCH + timedelta(seconds=uuid.int % 10**6)).isoformat()}"'

    # what is promised

    def _check_trace(self) -> None:
        """An answer that was once durable is the same for ever."""
        for key in self.tables.forgotten:
            self._told.pop(key, None)
            self.committed.pop(key, None)
            self._excused[key] = self.started[key]
        self.tables.forgotten.clear()
        check_times(self.trace)
        for key, shown in self.trace:
            if key in self.tables.memos and shown != "cancelled":
                told = self._told.setdefault(key, shown)
                assert told == shown, f"{key} was {told} and is {shown} now"

    def _check_counts(self, memos: Mapping[str, Memo]) -> None:
        for key, times in self.started.items():
            assert times <= 1 + self._excused[key], f"{key} ran {times} times"
        for key, memo in memos.items():
            if memo.kind == "transaction" and isinstance(memo.outcome, Value):
                assert self.committed[key] == 1, f"{key} was committed {self.committed[key]} times"
            if memo.kind == "execute" and not self._is_once(key):
                assert self.started[key] >= 1


def _typed(key: str) -> str:
    return f'[{{"amount":"{len(key)}.50","at":"2026-01-01T00:00:00Z"}}]'


@contextmanager
def quiet() -> Iterator[None]:
    """Failures of runs are logged; here there are thousands on purpose."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
