"""One attempt: a run as it was claimed, its clock, and the machine that executes it."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from durable.core.codec.json_codec import Codec
from durable.core.replay.context import Context
from durable.core.replay.endings import Settle
from durable.core.replay.history import History
from durable.core.replay.machine import Machine
from durable.core.replay.workflow import Workflow
from durable.core.runs import RunKey
from durable.store.records import ClaimedRun


class Attempt:
    """``codec`` is that of the workflow, else that of the worker."""

    __slots__ = ("_claimed_at", "_worker_codec", "claimed", "codec", "run_key", "workflow")

    def __init__(self, workflow: Workflow[Any, Any], run_key: RunKey, claimed: ClaimedRun, codec: Codec) -> None:
        self.workflow = workflow
        self.run_key = run_key
        self.claimed = claimed
        self.codec = workflow.codec or codec
        self._worker_codec = codec
        self._claimed_at = time.monotonic()

    def now(self) -> datetime:
        """The time by the database's clock, as far as this machine's clock has gone on evenly since the claim."""
        return self.claimed.claimed_at + timedelta(seconds=time.monotonic() - self._claimed_at)

    def remaining(self) -> float | None:
        """Seconds until the deadline, ``None`` without one."""
        if self.claimed.deadline_in is None:
            return None
        return self.claimed.deadline_in - (time.monotonic() - self._claimed_at)

    def comes_back_in(self, ending: Settle) -> float | None:
        """Seconds until the run that is left so wants to be claimed again, ``None`` if it has ended."""
        if ending.is_terminal:
            return None
        wake_in, remaining = ending.wake_in or 0.0, self.remaining()
        return wake_in if remaining is None else min(wake_in, max(remaining, 0.0))

    def machine(self, history: History) -> Machine:
        """A machine that executes the workflow from the top."""
        claimed = self.claimed
        attempt, moment = claimed.attempts + 1, claimed.scheduled_at
        ctx = Context(self.run_key, self.workflow.name, claimed.version, attempt, moment, self._worker_codec)
        machine = Machine(self._main(ctx), history, self.codec, output=f"the output of run {self.run_key}")
        ctx.attach(machine)
        return machine

    async def _main(self, ctx: Context) -> object:
        workflow = self.workflow
        if not workflow.takes_input:
            return await workflow.function(ctx)
        value = self.codec.decode(self.claimed.input, workflow.input_type, f"the input of run {self.run_key}")
        return await workflow.function(ctx, value)
