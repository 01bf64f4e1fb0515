"""One run in memory: memos in, commands out. No I/O, no clock, no randomness.

The machine runs the workflow until nothing is ready. Calls that no memo answers come out as commands. Their outcomes go
in one at a time, each followed by running until nothing is ready again. A replay feeds the memos back in the order in
which the run first saw them, so that every race in the code has the same winner again.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime
from typing import Any, cast

import msgspec

from durable.core.codec.json_codec import Codec, encode_as
from durable.core.codec.places import codec_at
from durable.core.errors import (
    DeserializationError,
    DurableError,
    NondeterminismError,
    WorkflowCodeError,
    unreachable,
)
from durable.core.replay.calls import Answer, Calls
from durable.core.replay.commands import (
    Abandon,
    ArmTimer,
    Call,
    Command,
    ContinueAsNew,
    Effect,
    Patch,
    SetAside,
    WaitEvents,
    failure_of,
)
from durable.core.replay.handles import Timer, moment_of
from durable.core.replay.history import (
    NO_HISTORY,
    Cancel,
    Failure,
    History,
    Memo,
    OpenWait,
    Outcome,
    TimedOut,
    Value,
)
from durable.core.replay.loop import MAX_SLICES_ALONE, THE_PAST, ReplayLoop
from durable.core.replay.ordering import order_anyio
from durable.core.replay.outcomes import how_it_stands, outcome_of, stuck

_MEMOS_WITHOUT_PAUSE = 250


class Machine(Calls):
    """Call ``start``, then ``resolve`` once for each answered call; both return the commands that follow.

    ``output`` returns the name of the workflow's result in messages; ``output_type`` is its declared type. ``run_id``
    is passed to a codec that binds values to their place. ``began`` is when the attempt began and ``clock`` returns the
    time since then; both are by the database's clock. ``salt`` is a number of the run (see ``numbered.salt_of``). With
    ``may_break_off``, answers leave code that turns in circles to ``turn_on``.
    """

    _main: asyncio.Task[Any]
    _replay: deque[Memo] | None = None
    _seq = 0
    _cancelled: Cancel | None = None
    _next_chapter: ContinueAsNew | None = None
    _is_circling = False
    _circles: Iterator[None] | None = None

    def __init__(
        self,
        history: History,
        codec: Codec,
        *,
        output: Callable[[], str],
        output_type: Any = Any,
        run_id: str = "",
        began: datetime = THE_PAST,
        clock: Callable[[], datetime] | None = None,
        salt: int = 0,
        may_break_off: bool = False,
    ) -> None:
        if "anyio" in sys.modules:
            order_anyio()
        self.loop = ReplayLoop(salt, clock, began)  # type: ignore[abstract]  # the methods it lacks raise an error
        self._commands = {}
        self._pending = {}
        self._used = {}
        self._known = {}
        self.began = began
        self._codec = codec
        self._output = output
        self._output_type = output_type
        self.run_id = run_id
        self._history = history
        self._loose: list[tuple[str, datetime | None]] = []
        self._may_break_off = may_break_off

    @property
    def is_replaying(self) -> bool:
        """True while answers still come from the history."""
        return bool(self._replay)

    @property
    def has_unmet(self) -> bool:
        self._take_timers()  # those that were armed before this
        return bool(self._replay) or any(wait.key not in self._used for wait in self._history.open_waits)

    @property
    def is_mismatched(self) -> bool:
        """True if the code and the history disagree."""
        return self._mismatch is not None

    @property
    def is_done(self) -> bool:
        """True if the workflow has ended or may not continue."""
        return self._is_closed or self.is_stopped or self._main.done() or self._next_chapter is not None

    @property
    def is_continuing(self) -> bool:
        """True if the run continues as new: whatever comes now is for its next chapter."""
        return self._next_chapter is not None

    @property
    def may_be_cancelled(self) -> bool:
        """True if the workflow has neither ended nor been cancelled before."""
        return not self.is_done and self._cancelled is None

    @property
    def has_more_turns(self) -> bool:
        """True if the code turns in circles that no answer can end, and has more turns before the run fails for it."""
        return self._circles is not None

    @property
    def moment(self) -> datetime | None:
        """When the run saw its last answer; ``None`` if its code has not asked, and then it need not be recorded."""
        return self.loop.moment

    # answers

    def start(self, main: Coroutine[Any, Any, Any]) -> list[Command]:
        """Runs the workflow, whose coroutine is ``main``, up to its first unanswered calls. Whatever the history can
        answer is answered from it."""
        for _ in self.begin(main) or ():
            pass
        return self.take_commands()

    def begin(self, main: Coroutine[Any, Any, Any]) -> Iterator[None] | None:
        """Does what ``start`` does, in parts of a few milliseconds: one part now, and the others as the returned
        iterator is advanced; ``None`` if nothing is left to do. Then the commands can be taken."""
        history, loop = self._history, self.loop
        if history is NO_HISTORY:
            self._main = loop.start_main(main)
            return self._more_turns() if loop.run_slice() or loop.changed_timers else None
        self._known.update((memo.key, memo) for memo in history.memos)
        self._known.update((wait.key, wait) for wait in history.open_waits)
        self._replay = deque(history.in_order()) if history.memos else None
        self._seq = max((memo.seq or 0 for memo in history.memos), default=0)
        loop.is_silent = bool(self._replay)
        self._main = loop.start_main(main)
        return self._meet_history()

    def _meet_history(self) -> Iterator[None]:
        if self.loop.run_slice() or self.loop.changed_timers or self._carried:
            yield from self._more_turns()
        met = 0
        while self._replay and not self.is_stopped:
            memo = self._replay[0]
            answer = self._pending.pop(memo.key, None)
            if memo.kind != "cancel" and answer is None and memo.key not in self._used:
                break
            self._replay.popleft()
            if memo.kind == "cancel":
                self._meet(memo)
                self._cancel(Cancel.of(memo))
            elif answer is not None:
                self._meet(memo)
                self._settle(answer, memo.outcome)
            is_met = memo.kind == "cancel" or answer is not None  # else the code has dropped the call
            if is_met and (self.loop.run_slice() or self.loop.changed_timers or self._carried):
                yield from self._more_turns()
            if memo.seq is None:
                self._loose.append((memo.key, self.moment if answer is not None else None))
            met += 1
            if met % _MEMOS_WITHOUT_PAUSE == 0:
                yield
        self.loop.is_silent = False
        self._check_history_was_met()
        self._history, self._replay = NO_HISTORY, None
        if self._known:
            self._known = {key: memo for key, memo in self._known.items() if isinstance(memo, Memo) and memo.carried}

    def _meet(self, memo: Memo) -> None:
        self.loop.answered(max(self.began, memo.at) if memo.seq is not None and memo.at is not None else None)

    def unordered(self) -> list[tuple[str, int, datetime | None]]:
        """Returns the keys of transactions that were committed without their position in the order, each with the
        position that the replay has now given it and the moment at which the run saw it, if it asked."""
        first = self._seq + 1
        self._seq += len(self._loose)
        return [(key, first + index, at) for index, (key, at) in enumerate(self._loose)]

    def resolve(self, key: str, outcome: Outcome) -> tuple[int | None, list[Command]]:
        """Answers a call. Returns the answer's position in the run's order (``None`` if nothing waits for it any
        longer), and the commands that follow."""
        if self._circles is not None:
            self._end_turns()
        answer = self._pending.pop(key, None)
        if answer is None:
            return None, []
        seq = self._seq = self._seq + 1
        self.loop.has_been_asked = False
        if isinstance(answer, Timer):
            self.loop.answered(max(self.loop.now(), moment_of(answer.when())))
        self._settle(answer, outcome)
        self._run()
        return seq, self.take_commands()

    def cancel(self, cancel: Cancel) -> tuple[int | None, list[Command]]:
        """Raises ``CancelledError`` in the workflow, at its current await. Returns the same as ``resolve``; the
        position is ``None`` if the workflow has ended or was cancelled before, or does so before it is cancelled."""
        had_more_turns = self.has_more_turns
        self._end_turns()
        if not self.may_be_cancelled:
            return None, self.take_commands() if had_more_turns else []
        self._seq += 1
        seq = self._seq
        self.loop.has_been_asked = False
        self._cancel(cancel)
        self._run()
        return seq, self.take_commands()

    def continue_as_new(self, decision: ContinueAsNew) -> asyncio.Future[Any]:
        """Ends the run's chapter, whatever else its code does. Returns a future that is never resolved. Raises
        ``WorkflowCodeError`` if the run was cancelled: it has been asked to end."""
        what = "continue_as_new"
        self.check_is_inside(what)
        if self._cancelled is not None:
            raise WorkflowCodeError(f"{what} was called after the run was cancelled: let the workflow end instead")
        self._next_chapter = self._next_chapter or decision
        return self.loop.create_future()

    def _cancel(self, cancel: Cancel) -> None:
        self._cancelled = cancel
        self._main.cancel(cancel.reason)

    def does_not_fit(self, error: DeserializationError) -> None:
        """Notes that something that is recorded does not fit the type that the code declares."""
        self._mismatch = self._mismatch or NondeterminismError.of_type(error)

    def check_type(self, type: Any, what: str) -> None:
        """Raises ``SerializationError`` for a declared type whose values can never be read back."""
        self._codec.check_type(type, what)

    def close(self) -> None:
        """Ends the machine. Any call that its coroutines still make unwinds them."""
        self._is_closed = True
        self.loop.discard()
        self._pending.clear()
        self._draws = self._carried = self._circles = None

    # turns

    def turn_on(self) -> list[Command]:
        """Continues, for a few milliseconds, code that turns in circles; returns the commands that follow once it does
        so no longer."""
        for _ in self._circles or ():
            return []
        self._circles = None
        return self.take_commands()

    def _end_turns(self) -> None:
        """A replay meets the next answer after all turns as well."""
        for _ in self._circles or ():
            pass
        self._circles = None

    def _run(self) -> None:
        loop = self.loop
        if loop.run_slice() or loop.changed_timers or self._carried:
            turns = self._more_turns()
            for _ in turns:
                if self._is_circling and self._may_break_off:
                    self._circles = turns
                    break

    def _more_turns(self) -> Iterator[None]:
        """Runs the code until it is blocked, answering calls whose memo no longer has a place in the order, in the
        order of the calls."""
        yield from self._until_quiet()
        while self._carried and not self.is_stopped:
            answer, outcome = self._carried.popleft()
            if self._pending.pop(answer.call.key, None) is not None:  # else an earlier answer made the code drop it
                self._settle(answer, outcome)
                yield from self._until_quiet()

    def _until_quiet(self) -> Iterator[None]:
        yield from self.loop.slices()
        self._take_timers()
        if self.loop.is_turning and not self._pending and not self._main.done():
            self._is_circling = True
            yield from self.loop.slices(MAX_SLICES_ALONE, MAX_SLICES_ALONE)
            self._is_circling = False
            self._take_timers()

    @property
    def is_stopped(self) -> bool:
        """True if the code may not continue although it has not ended."""
        return self._mismatch is not None or self.loop.refusal is not None

    def _settle(self, answer: Answer | Timer, outcome: Outcome) -> None:
        if isinstance(answer, Timer):
            self.loop.fire(answer)
            return
        call = answer.call
        match outcome:
            case Value(text):
                try:
                    answer.set_result(call.decode(text, self._codec, self.run_id))
                except DeserializationError as error:
                    self.does_not_fit(error)
                except DurableError as error:
                    answer.set_exception(error)
            case Failure(error):
                answer.set_exception(call.failure(error))
            case TimedOut() if isinstance(call, ArmTimer):
                answer.set_result(None)
            case TimedOut() if isinstance(call, WaitEvents):
                answer.set_result([])
            case TimedOut():
                answer.set_exception(call.timed_out())
            case _:
                unreachable(outcome)

    def _check_history_was_met(self) -> None:
        """Records a mismatch if the code has run to its end, or until it was blocked, without calling everything that
        is recorded."""
        if self._mismatch is not None:
            return
        missed: Memo | OpenWait | None = self._replay[0] if self._replay else self._missed_wait()
        if missed is not None and self.loop.refusal is None:
            called = next((str(command) for command in self._commands.values() if isinstance(command, Call)), None)
            self._mismatch = NondeterminismError(str(missed), called or how_it_stands(self._main))

    def _missed_wait(self) -> OpenWait | None:
        """Returns the first open wait that the code does not call. A timer that has not fired had no influence yet: if
        the code no longer arms it, or cancels it as soon as it is armed, it is dropped."""
        for wait in self._history.open_waits:
            if wait.kind == "timer":
                if wait.key not in self._pending:
                    self._commands[wait.key,] = Abandon(ArmTimer(wait.key, 0.0, is_open=True))
            elif wait.key not in self._used:
                return wait
        return None

    def take_commands(self) -> list[Command]:
        """Returns what the code has asked for since the last time, and its ending if it has ended."""
        refusal = self.loop.refusal
        if self._mismatch is not None or refusal is not None:
            self._pending.clear()
            if self._main.done() and not self._main.cancelled():
                self._main.exception()  # the run does not end with it, so asyncio need not report it
            return [SetAside(self._mismatch) if self._mismatch is not None else failure_of(cast(Exception, refusal))]
        commands = list(self._commands.values())
        if self._patches:  # the code knows the answers already: no step of this turn may start before they are written
            commands.sort(key=lambda command: not isinstance(command, Patch))
        self._commands.clear()
        if self._main.done() or self._next_chapter is not None:
            unfinished: tuple[str, ...] = ()
            if commands or self._pending:
                unfinished = tuple(str(answer.call) for answer in self._pending.values() if isinstance(answer, Answer))
                commands = self._last_of(commands)
                self._pending.clear()
            if self._next_chapter is not None:
                if self._main.done() and not self._main.cancelled():
                    self._main.exception()  # the run goes on, so asyncio need not report it
                commands.append(msgspec.structs.replace(self._next_chapter, unfinished=unfinished))
            else:
                commands.append(outcome_of(self._main, self._cancelled, self._encoded, unfinished))
        elif not self._pending and self._circles is None:
            commands.append(stuck(is_turning=self.loop.is_turning))
        return commands

    def _encoded(self, output: object) -> str:
        codec = codec_at(self._codec, "output", self.run_id)
        return encode_as(codec, output, self._output_type, self._output())

    def _last_of(self, commands: list[Command]) -> list[Command]:
        calls = [ArmTimer.of(one) if isinstance(one, Timer) else one.call for one in self._pending.values()]
        return [*(one for one in commands if isinstance(one, Effect)), *map(Abandon, calls)]
