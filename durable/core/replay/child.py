"""A child run, as its parent sees it."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, Unpack, cast

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import Place
from durable.core.errors import InvalidArgument
from durable.core.keys import check_key
from durable.core.replay.commands import StartChild, WaitChild
from durable.core.replay.machine import Machine
from durable.core.replay.workflow import OutputT, Workflow, check_workflow
from durable.core.run_options import Given, RunOptions, checked_options
from durable.core.runs import RunKey

_RESULT = ":result"
_MAX_BYTES = 200 - len(_RESULT)


class ChildHandle(Generic[OutputT]):
    """A child that has been begun, as ``ctx.start_child`` returns it."""

    __slots__ = ("_end", "_machine", "_wait", "run_key")

    def __init__(self, machine: Machine, wait: WaitChild) -> None:
        self.run_key = wait.run_key
        """The key of the child; the same on every replay."""
        self._machine = machine
        self._wait = wait
        self._end: asyncio.Future[Any] | None = None

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

    async def only_result(self) -> OutputT:
        """Like ``result``, but only once, and if this await is cancelled, so is the child."""
        try:
            return cast(OutputT, await self._machine.call(self._wait))
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
