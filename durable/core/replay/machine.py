"""One run in memory: memos in, commands out. No I/O, no clock, no randomness.

The machine runs the workflow until nothing is ready. Calls that no memo answers come out as commands. Their outcomes go
in one at a time, each followed by running until nothing is ready again. A replay feeds the memos back in the order in
which the run first saw them, so that every race in the code has the same winner again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from durable.core.codec.json_codec import Codec
from durable.core.errors import (
    DeserializationError,
    DuplicateKey,
    DurableError,
    EventTimeout,
    NondeterminismError,
    StepFailed,
    WorkflowCodeError,
    unreachable,
)
from durable.core.failures import ErrorInfo, error_info
from durable.core.replay.commands import Abandon, Call, CancelChild, Command, Complete, EndCancelled, Fail, SetAside
from durable.core.replay.history import (
    NO_HISTORY,
    Cancel,
    Failure,
    History,
    Kind,
    Memo,
    OpenWait,
    Outcome,
    TimedOut,
    Value,
    describe,
)
from durable.core.replay.loop import ReplayLoop
from durable.core.runs import RunKey


class _Answer(asyncio.Future[Any]):
    """The future behind a call. Cancelling it is how workflow code abandons the call."""

    def __init__(self, machine: Machine, call: Call) -> None:
        super().__init__(loop=machine.loop)
        self.machine = machine
        self.call = call

    def cancel(self, msg: Any = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self.machine.abandoned(self.call)
        return cancelled


class Machine:
    """Call ``start``, then ``resolve`` once for each answered call; both return the commands that follow.

    ``output`` names the workflow's result in messages.
    """

    __slots__ = (
        "_cancelled",
        "_codec",
        "_commands",
        "_history",
        "_is_closed",
        "_known",
        "_loose",
        "_main",
        "_mismatch",
        "_output",
        "_pending",
        "_replay",
        "_seq",
        "_used",
        "loop",
    )

    def __init__(self, history: History, codec: Codec, *, output: str) -> None:
        self.loop = ReplayLoop()  # type: ignore[abstract]  # the methods it lacks raise an error
        self._codec = codec
        self._output = output
        self._commands: list[Command] = []
        self._pending: dict[str, _Answer] = {}
        self._used: dict[str, tuple[Kind, str]] = {}
        self._history = history
        self._known: dict[str, Memo | OpenWait] = {}
        self._replay: deque[Memo] | None = None
        self._seq = 0
        self._loose: list[str] = []
        self._mismatch: NondeterminismError | None = None
        self._is_closed = False
        self._cancelled: Cancel | None = None

    @property
    def is_replaying(self) -> bool:
        """True while answers still come from the history."""
        return bool(self._replay)

    @property
    def is_mismatched(self) -> bool:
        """True if the code and the history disagree."""
        return self._mismatch is not None

    @property
    def is_done(self) -> bool:
        """True if the workflow has ended or may not continue."""
        return self._is_closed or self._mismatch is not None or self._main.done()

    def start(self, main: Coroutine[Any, Any, Any]) -> list[Command]:
        """Runs the workflow, whose coroutine is ``main``, up to its first unanswered calls. Whatever the history can
        answer is answered from it."""
        history = self._history
        if history is not NO_HISTORY:
            self._known.update((memo.key, memo) for memo in history.memos)
            self._known.update((wait.key, wait) for wait in history.open_waits)
            self._replay = deque(history.in_order()) if history.memos else None
            self._seq = max((memo.seq or 0 for memo in history.memos), default=0)
        self._main = self.loop.create_task(main)
        self.loop.run_until_quiet()
        self._answer_carried()
        while self._replay and self._mismatch is None:
            memo = self._replay[0]
            if memo.kind == "cancel":
                self._replay.popleft()
                self._cancel(Cancel.of(memo))
                continue
            answer = self._pending.pop(memo.key, None)
            if answer is None and memo.key not in self._used:
                break
            self._replay.popleft()
            if answer is not None:
                self._settle(answer, memo.outcome)
                self.loop.run_until_quiet()
                self._answer_carried()
        self._check_history_was_met()
        self._loose = sorted(memo.key for memo in self._history.memos if memo.seq is None and not memo.carried)
        self._history, self._replay = NO_HISTORY, None
        if self._known:
            self._known = {key: memo for key, memo in self._known.items() if isinstance(memo, Memo) and memo.carried}
        return self._take_commands()

    def unordered(self) -> list[tuple[str, int]]:
        """Returns the keys of transactions that were committed without their position in the order, each with the
        position that the replay has now given it."""
        first = self._seq + 1
        self._seq += len(self._loose)
        return [(key, first + index) for index, key in enumerate(self._loose)]

    def resolve(self, key: str, outcome: Outcome) -> tuple[int | None, list[Command]]:
        """Answers a call. Returns the answer's position in the run's order (``None`` if nothing waits for it any
        longer), and the commands that follow."""
        answer = self._pending.pop(key, None)
        if answer is None or self.is_done:
            return None, []
        self._seq += 1
        seq = self._seq
        self._settle(answer, outcome)
        self.loop.run_until_quiet()
        if self._known:
            self._answer_carried()
        return seq, self._take_commands()

    def cancel(self, cancel: Cancel) -> tuple[int | None, list[Command]]:
        """Raises ``CancelledError`` in the workflow, at its current await. Returns the same as ``resolve``; the
        position is ``None`` if the workflow has ended or was cancelled before."""
        if self.is_done or self._cancelled is not None:
            return None, []
        self._seq += 1
        seq = self._seq
        self._cancel(cancel)
        return seq, self._take_commands()

    def _cancel(self, cancel: Cancel) -> None:
        self._cancelled = cancel
        self._main.cancel(cancel.reason)
        self.loop.run_until_quiet()
        self._answer_carried()

    def close(self) -> None:
        """Ends the machine. Any call that its coroutines still make raises an error."""
        self._is_closed = True
        self.loop.discard()
        self._pending.clear()

    # called by the Context and by the answers, from workflow code

    def call(self, call: Call) -> asyncio.Future[Any]:
        """Registers a call under its key and returns the future of its answer."""
        if asyncio._get_running_loop() is not self.loop:
            raise WorkflowCodeError(
                f"{call} was called outside the workflow's own code: there is no Context inside a step; "
                "return from the step and make the call in the workflow"
            )
        if self._is_closed:
            raise WorkflowCodeError(f"{call} was called after the run had left this worker")
        earlier = self._used.get(call.key)
        if earlier is not None:
            raise DuplicateKey(call.key, describe(earlier[0], call.key, earlier[1]), str(call))
        self._used[call.key] = (call.kind, call.name)
        answer = self._pending[call.key] = _Answer(self, call)
        known = self._known.get(call.key)
        if known is not None and (known.kind != call.kind or known.name != call.name):
            self._mismatch = self._mismatch or NondeterminismError(str(known), str(call))
        elif not isinstance(known, Memo):
            self._commands.append(call)
        return answer

    def abandoned(self, call: Call) -> None:
        """Drops a call because the workflow has cancelled what awaited it."""
        self._pending.pop(call.key, None)
        kept = [command for command in self._commands if command is not call]
        was_begun = len(kept) == len(self._commands) or isinstance(self._known.get(call.key), OpenWait)
        if was_begun and not self._is_closed:
            kept.append(Abandon(call))
        self._commands = kept

    def cancel_child(self, run_key: RunKey) -> None:
        """Asks for a child to be cancelled because the workflow has cancelled what awaited it. A replay asks again,
        which changes nothing."""
        self._commands.append(CancelChild(run_key))

    def _answer_carried(self) -> None:
        """Answers calls whose memo no longer has a place in the order, in the order of the calls."""
        while True:
            carried = [
                (answer, memo.outcome)
                for key, answer in self._pending.items()
                if isinstance(memo := self._known.get(key), Memo) and memo.carried
            ]
            if not carried or self._mismatch is not None:
                return
            for answer, outcome in carried:
                if self._mismatch is not None:
                    return
                if self._pending.pop(answer.call.key, None) is not None:  # else an earlier answer made the code drop it
                    self._settle(answer, outcome)
                    self.loop.run_until_quiet()

    def _settle(self, answer: _Answer, outcome: Outcome) -> None:
        call = answer.call
        match outcome:
            case Value(text):
                try:
                    answer.set_result(call.decode(text, self._codec))
                except DeserializationError as error:
                    self._mismatch = self._mismatch or NondeterminismError.of_type(error)
                except DurableError as error:
                    answer.set_exception(error)
            case Failure(error, cause):
                failed = StepFailed(call.key, error)
                failed.__cause__ = cause
                answer.set_exception(failed)
            case TimedOut():
                answer.set_exception(EventTimeout(call.key, call.name))
            case _:
                unreachable(outcome)

    def _check_history_was_met(self) -> None:
        """Records a mismatch if the code has run to its end, or until it was blocked, without calling everything that
        is recorded."""
        if self._mismatch is not None:
            return
        missed: Memo | OpenWait | None = self._replay[0] if self._replay else None
        if missed is None:
            missed = next((wait for wait in self._history.open_waits if wait.key not in self._used), None)
        if missed is not None:
            called = next((command for command in self._commands if isinstance(command, Call)), None)
            ending = "nothing more before the workflow ends" if self._main.done() else "nothing more"
            self._mismatch = NondeterminismError(str(missed), str(called) if called else ending)

    def _take_commands(self) -> list[Command]:
        if self._mismatch is not None:
            return [SetAside(self._mismatch)]
        commands, self._commands = self._commands, []
        if self._main.done():
            last: list[Command] = [command for command in commands if isinstance(command, Abandon | CancelChild)]
            last.extend(Abandon(answer.call) for answer in self._pending.values())
            return [*last, self._ending()]
        if not self._pending:
            commands.append(
                failure_of(
                    WorkflowCodeError(
                        "the workflow is blocked on something other than a durable call and can never resume"
                    )
                )
            )
        return commands

    def _ending(self) -> Complete | Fail | EndCancelled:
        if self._cancelled is not None:
            return EndCancelled(self._cancelled, self._raised_instead())
        if self._main.cancelled():
            return failure_of(asyncio.CancelledError("the workflow cancelled itself"))
        exception = self._main.exception()
        if exception is not None:
            return failure_of(exception)
        try:
            return Complete(self._codec.encode(self._main.result(), self._output))
        except DurableError as error:
            return failure_of(error)

    def _raised_instead(self) -> ErrorInfo | None:
        exception = None if self._main.cancelled() else self._main.exception()
        return None if exception is None else error_info(exception)


def failure_of(exception: BaseException) -> Fail:
    """Returns the decision to fail with that exception."""
    return Fail(error_info(exception), exception)
