"""A child run, as its parent sees it."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any, Generic, Unpack, cast

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import Place
from durable.core.errors import InvalidArgument
from durable.core.keys import check_key
from durable.core.replay.commands import ReadChild, StartChild, WaitChild
from durable.core.replay.machine import Machine
from durable.core.replay.signatures import signature_of
from durable.core.replay.workflow import OutputT, Workflow, check_workflow
from durable.core.retry import RetryPolicy, exponential
from durable.core.run_options import Given, RunOptions, checked_options
from durable.core.runs import RunKey, Status

_RESULT = ":result"
_MAX_BYTES = 200 - len(_RESULT)
_STATUS = "ChildHandle.status"
_PATIENT = RetryPolicy(max_retries=10_000, backoff=exponential(0.1, 30))


async def _status_of() -> Status:
    raise NotImplementedError  # the worker puts its own function in this place


class ChildHandle(Generic[OutputT]):
    """A child that has been begun, as ``ctx.start_child`` returns it."""

    __slots__ = ("_end", "_machine", "_wait", "run_key")

    def __init__(self, machine: Machine, wait: WaitChild) -> None:
        self.run_key = wait.run_key
        """The key of the child; the same on every replay."""
        self._machine = machine
        self._wait = wait
        self._end: asyncio.Future[Any] | None = None

    @property
    def codec(self) -> Codec:
        """The codec of the child's workflow."""
        return self._wait.codec

    def __repr__(self) -> str:
        return f"<ChildHandle of run {self.run_key}>"

    async def result(self) -> OutputT:
        """Waits until the child has ended and returns its output, as its workflow's return annotation declares it. The
        parent is parked meanwhile.

        May be awaited any number of times, even after an earlier await of it was cancelled; that does not affect the
        child. Raises ``RunFailed`` or ``RunCancelled``, each with the child's key and the same on every replay.
        """
        if self._end is None:
            self._end = self._machine.call(self._wait)
        return cast(OutputT, await asyncio.shield(self._end))

    async def cancel(self) -> None:
        """Requests that the child be cancelled; ``result`` goes on waiting for its end. Requesting it twice has the
        same effect as requesting it once, and a child that has ended is left alone."""
        self._machine.check_is_inside(f"cancel() of child {self.run_key}")
        self._machine.cancel_child(self.run_key, is_awaited=True)

    async def status(self, key: str) -> Status:
        """Returns the status that the child has now; on a replay, what it was then. ``key`` names the memo, as with
        every step."""
        signature = signature_of(_status_of)
        call = ReadChild(
            check_key("key", key), _status_of, (), {}, _PATIENT, _STATUS, False, signature, copy_context(), self.run_key
        )
        return cast(Status, await self._machine.call(call))

    async def only_result(self, *, is_held: bool) -> OutputT:
        """Like ``result``, but only once, and if this await is cancelled, so is the child. ``is_held``: a cancel of the
        run waits for the end of the child."""
        try:
            return cast(OutputT, await self._machine.call(msgspec.structs.replace(self._wait, is_held=is_held)))
        except asyncio.CancelledError:
            self._machine.cancel_child(self.run_key)
            raise


async def start_child(
    machine: Machine,
    codec: Codec,
    given: Given,
    key: str,
    wf: Workflow[Any, OutputT],
    input: object,
    **options: Unpack[RunOptions],
) -> ChildHandle[OutputT]:
    """Begins a child. ``codec`` is used for workflows without a codec of their own, and ``given`` is what the parent
    was given. Raises the same errors as ``Context.start_child``."""
    check_workflow(wf)
    key = check_key("key", key)
    if len(key.encode()) > _MAX_BYTES:
        rule = f"at most {_MAX_BYTES} bytes for a child, because the wait for its end has the key '<key>{_RESULT}'"
        raise InvalidArgument("key", key, rule)
    encoded = wf.encoded_input(input, codec, Place("input of a child", machine.run_id))
    checked = checked_options(wf.timeout, inherited=given, **options)
    run_key: RunKey = await machine.call(StartChild(key, wf, encoded, checked))
    wait = WaitChild(key + _RESULT, run_key, wf.output_type, wf.codec or codec)
    return ChildHandle[OutputT](machine, wait)
