"""A block of workflow code whose steps are undone if it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Self

import msgspec

from durable.core.errors import InvalidArgument, WorkflowCodeError
from durable.core.keys import check_key
from durable.core.replay.calls import Answer, Calls
from durable.core.replay.commands import Undo
from durable.core.replay.history import UNDO
from durable.core.replay.signatures import signature_of
from durable.core.replay.step_call import Call, step_call

P = ParamSpec("P")

_MAX_BYTES = 200 - len(UNDO)


class Saga:
    """What ``ctx.saga`` returns. It is entered once."""

    __slots__ = ("_calls", "_is_open", "_undos", "_was_entered")

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._undos: list[Undo] = []
        self._is_open = self._was_entered = False

    def undo(self, key: str | Call, fn: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Has ``fn(*args, **kwargs)`` called, as a step, if the block does not end well. ``key`` is the key of the call
        that it undoes; the step itself has the key ``"<key>:undo"``, so ``key`` may have at most 195 bytes.

        If it is registered before that call, it is called even if nobody knows whether the call has had an effect, as
        after an error; if after it, it may be given the result. The arguments are copied now, and context variables
        have the values that they have now. ``Call("key", retry=…)`` in the place of the key has options.

        A retry of the run, in which the compensation is recorded, makes the call of that key again.

        Raises ``InvalidArgument``, ``DuplicateKey``, or ``WorkflowCodeError`` outside the block; then nothing is
        registered.
        """
        call = step_call(Undo, _key_of(key), fn, args, kwargs, signature_of(fn))
        if not self._is_open:
            raise WorkflowCodeError(f"{call} is registered outside the saga: use it with async with, in its block")
        self._calls.promise(call)
        self._undos.append(call)

    async def __aenter__(self) -> Self:
        if self._was_entered:
            raise WorkflowCodeError("this saga has been entered before; make another one with ctx.saga()")
        self._is_open = self._was_entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None and not self._calls.is_closed:
                await self._undo_all(error)
        finally:
            self._is_open = False

    async def _undo_all(self, cause: BaseException) -> None:
        failures: list[Exception] = []
        cancelled: asyncio.CancelledError | None = None
        while self._undos:  # tasks that the block has left behind may still register some
            try:
                cancelled = await _ended(self._calls.call(self._undos.pop())) or cancelled
            except Exception as failure:
                failures.append(failure)
        if failures:
            count = "a compensation" if len(failures) == 1 else f"{len(failures)} compensations"
            raise ExceptionGroup(f"{count} of the saga failed", failures) from cause
        if cancelled is not None:
            raise cancelled from cause


async def _ended(answer: Answer) -> asyncio.CancelledError | None:
    """Waits for a compensation, which nothing interrupts: a cancel that comes meanwhile is returned. Raises what the
    compensation raises."""
    cancelled = None
    while not answer.done():
        try:
            await asyncio.shield(answer)
        except asyncio.CancelledError as error:
            cancelled = error
    answer.result()
    return cancelled


def _key_of(key: str | Call) -> str | Call:
    plain = key.key if isinstance(key, Call) else check_key("key", key)
    if len(plain.encode()) > _MAX_BYTES:
        rule = f"at most {_MAX_BYTES} bytes for a compensation, because its step has the key '<key>{UNDO}'"
        raise InvalidArgument("key", plain, rule)
    return msgspec.structs.replace(key, key=plain + UNDO) if isinstance(key, Call) else plain + UNDO
