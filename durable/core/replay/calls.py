"""The calls that workflow code has made: what the Context and asyncio's timers reach from inside a run."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import PlaceKind, codec_at
from durable.core.errors import DuplicateKey, NondeterminismError, SerializationError, WorkflowCodeError
from durable.core.replay.commands import Abandon, ArmTimer, Call, CancelChild, Command, Draw, Patch, SetStatus
from durable.core.replay.handles import Timer
from durable.core.replay.history import Kind, Memo, OpenWait, Outcome, Value, describe
from durable.core.replay.loop import ReplayLoop
from durable.core.replay.unwinding import Unwound
from durable.core.runs import RunKey

_HAS_EAGER_TASKS = hasattr(asyncio, "eager_task_factory")
_GREATEST_DELAY = 100 * 366 * 86400.0
"""A timer that is due later than in a hundred years, in seconds, never fires."""
_MAX_STATUS = 64 * 1024


class Answer(asyncio.Future[Any]):
    """The future behind a call. Cancelling it is how workflow code abandons the call."""

    def __init__(self, calls: Calls, call: Call) -> None:
        super().__init__(loop=calls.loop)
        self.calls = calls
        self.call = call

    def cancel(self, msg: Any = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self.calls.abandoned(self.call)
        return cancelled


class Calls:
    """The calls of one run, by key: those that still wait for their answer, and the commands that follow from those
    that are new. ``_known`` is what the history says about a key."""

    loop: ReplayLoop
    run_id: str
    _codec: Codec
    _commands: dict[object, Command]
    """By the key of the call; an ``Abandon`` by its key in a tuple."""
    _pending: dict[str, Answer | Timer]
    _used: dict[str, tuple[Kind, str]]
    _known: dict[str, Memo | OpenWait]

    # The defaults of what most runs never change, as in ReplayLoop.
    _draws: dict[str, Answer] | None = None
    _carried: deque[tuple[Answer, Outcome]] | None = None
    """Calls whose memo no longer has a place in the order, in the order of the calls."""
    _promised: dict[str, str] | None = None
    """The keys of calls that may be made later, each with a description of the call."""
    _patches: dict[str, bool] | None = None
    _timers_armed = 0
    _mismatch: NondeterminismError | None = None
    _is_closed = False

    @property
    def is_closed(self) -> bool:
        """True once the run has left this worker."""
        return self._is_closed

    def call(self, call: Call) -> Answer:
        """Registers a call under its key and returns the future of its answer."""
        if self._is_closed or asyncio._get_running_loop() is not self.loop:
            self.check_is_inside(call)
        if _HAS_EAGER_TASKS:  # one that was made by hand was not seen then
            self.loop.check_task(asyncio.current_task(self.loop))
        key = call.key
        if key in self._used:
            kind, name = self._used[key]
            raise DuplicateKey(key, describe(kind, key, name), str(call))
        self._used[key] = (call.kind, call.name)
        self.loop.has_moved = True
        answer = self._pending[key] = Answer(self, call)
        known = self._known.get(key)
        if known is None:
            self._commands[key] = call
        elif known.kind != call.kind or known.name != call.name:
            self._mismatch = self._mismatch or NondeterminismError(str(known), str(call))
        elif not isinstance(known, Memo):
            self._commands[key] = msgspec.structs.replace(call, is_open=True) if isinstance(call, ArmTimer) else call
        elif known.carried:
            if self._carried is None:
                self._carried = deque()
            self._carried.append((answer, known.outcome))
        return answer

    def draw(self, call: Draw) -> asyncio.Future[Any]:
        """Does what ``call`` does, but the same key may be used again and then gives the same value."""
        if self._draws is None:
            self._draws = {}
        earlier = self._draws.get(call.key)
        if earlier is None or earlier.call.kind != call.kind:
            answer = self._draws[call.key] = self.call(call)
            return answer
        if earlier.cancelled():  # before anything was drawn
            del self._draws[call.key], self._used[call.key]
            return self.draw(call)
        return asyncio.shield(earlier)

    def check_is_inside(self, what: object) -> None:
        """Raises ``WorkflowCodeError`` outside the workflow's own code, naming what was called, and ``Unwound`` once
        the run has left."""
        if asyncio._get_running_loop() is not self.loop:
            raise WorkflowCodeError(
                f"{what} was called outside the workflow's own code: there is no Context inside a step; "
                "return from the step and make the call in the workflow"
            )
        if self._is_closed:
            raise Unwound

    def promise(self, call: Call) -> None:
        """Takes the key of a call that may be made later. Raises ``DuplicateKey`` now rather than then."""
        self.check_is_inside(call)
        if self._promised is None:
            self._promised = {}
        used = self._used.get(call.key)
        first = self._promised.get(call.key) if used is None else describe(used[0], call.key, used[1])
        if first is not None:
            raise DuplicateKey(call.key, first, str(call))
        self._promised[call.key] = str(call)

    @property
    def has_unmet(self) -> bool:
        """True if something is recorded that a replay has yet to meet: a memo, or a call that was open."""
        raise NotImplementedError  # the machine knows the history

    def patched(self, key: str) -> bool:
        """Returns whether the run goes the new way at that key. The first call decides, and the answer never changes: a
        run goes the old way if anything is left that the code before the change has recorded."""
        what = describe("patched", key, "")
        self.check_is_inside(what)
        if self._patches is None:
            self._patches = {}
        decided = self._patches.get(key)
        if decided is not None:
            return decided
        if key in self._used:
            kind, name = self._used[key]
            raise DuplicateKey(key, describe(kind, key, name), what)
        self._used[key] = ("patched", "")
        known = self._known.get(key)
        if known is None:
            decided = not self.has_unmet
            self._commands[key] = Patch(key, decided)
        else:
            decided = isinstance(known, Memo) and known.outcome == Value("true")
            if known.kind != "patched":
                self._mismatch = self._mismatch or NondeterminismError(str(known), what)
        self._patches[key] = decided
        return decided

    def abandoned(self, call: Call) -> None:
        """Drops a call because the workflow has cancelled what awaited it."""
        self._pending.pop(call.key, None)
        was_begun = self._commands.pop(call.key, None) is None or isinstance(self._known.get(call.key), OpenWait)
        if was_begun and not self._is_closed:
            self._commands[call.key,] = Abandon(call)

    def cancel_child(self, run_key: RunKey, *, is_awaited: bool = False) -> None:
        """Asks for a child to be cancelled, because the workflow has cancelled what awaited it or, with ``is_awaited``,
        because its code says so. A replay asks again, which changes nothing."""
        before = self._commands.get(run_key)
        is_awaited &= not isinstance(before, CancelChild) or before.is_awaited
        self._commands[run_key] = CancelChild(run_key, is_awaited)

    def encoded(self, kind: PlaceKind, name: str, value: object, what: str) -> str:
        """Returns a value encoded for a place of this run. Raises ``SerializationError``."""
        return codec_at(self._codec, kind, self.run_id, name).encode(value, what)

    def set_status(self, value: object) -> None:
        """Has the run show that value. Of several in one turn, and of all that a replay goes through, only the last one
        counts. Raises ``SerializationError``."""
        if asyncio._get_running_loop() is not self.loop:
            raise WorkflowCodeError("set_status was called outside the workflow's own code; call it there")
        if self._is_closed:
            raise Unwound
        text = self.encoded("status", "", value, "the status")
        if (size := len(text.encode())) > _MAX_STATUS:
            raise SerializationError("the status", "$", f"takes {size} bytes, but the limit is {_MAX_STATUS}")
        self.loop.has_moved = True
        self._commands[SetStatus] = SetStatus(text)

    # timers

    def _take_timers(self) -> None:
        """Turns the timers that were armed or cancelled into commands. All that are armed are counted, in the order in
        which that happened: their numbers are their keys."""
        changed = self.loop.changed_timers
        for timer in changed:
            if timer.number is None:
                self._timers_armed += 1
                timer.number = self._timers_armed
                self._arm(timer)
            else:
                call = ArmTimer.of(timer)
                if self._pending.get(call.key) is timer:
                    self.abandoned(call)
        changed.clear()

    def _arm(self, timer: Timer) -> None:
        call = ArmTimer.of(timer)
        self._used[call.key] = (call.kind, call.name)
        if not timer.is_armed or timer.delay > _GREATEST_DELAY:
            return
        self._pending[call.key] = timer
        known = self._known.get(call.key)
        if not isinstance(known, Memo):
            self._commands[call.key] = ArmTimer.of(timer, is_open=known is not None)
