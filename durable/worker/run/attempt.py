"""One attempt: a run as it was claimed, its clock, and the machine that executes it."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from durable.core.codec.json_codec import Codec
from durable.core.errors import DeserializationError, NondeterminismError
from durable.core.replay.commands import Command, Complete, EndCancelled, Fail, SetAside
from durable.core.replay.context import Context
from durable.core.replay.endings import Settle, ending_of
from durable.core.replay.history import History
from durable.core.replay.machine import Machine
from durable.core.replay.workflow import Workflow
from durable.core.runs import RunKey
from durable.store.records import ClaimedRun
from durable.worker.clock import Clock

_logger = logging.getLogger("durable.worker")


class Attempt:
    """``codec`` is the workflow's own codec if it has one, otherwise the worker's."""

    __slots__ = ("_claimed_at", "_clock", "_worker_codec", "claimed", "codec", "run_key", "workflow")

    def __init__(
        self, workflow: Workflow[Any, Any], run_key: RunKey, claimed: ClaimedRun, codec: Codec, clock: Clock
    ) -> None:
        self.workflow = workflow
        self.run_key = run_key
        self.claimed = claimed
        self.codec = workflow.codec or codec
        self._worker_codec = codec
        self._clock = clock
        self._claimed_at = clock.monotonic()

    def now(self) -> datetime:
        """Returns the time by the database's clock, provided that this machine's clock has run evenly since the
        claim."""
        return self.claimed.claimed_at + timedelta(seconds=self._clock.monotonic() - self._claimed_at)

    def remaining(self) -> float | None:
        """Returns the seconds until the deadline, ``None`` if there is none."""
        if self.claimed.deadline_in is None:
            return None
        return self.claimed.deadline_in - (self._clock.monotonic() - self._claimed_at)

    def ending_of(self, decision: Complete | Fail | EndCancelled | SetAside) -> Settle:
        """Returns how the run ends now that its machine has decided, and logs it if that did not go well."""
        claimed = self.claimed
        ending = ending_of(decision, self.workflow.retry, attempts=claimed.attempts, set_asides=claimed.set_asides)
        if isinstance(decision, Fail | SetAside):
            reason = decision.exception if isinstance(decision, Fail) else decision.error
            level = logging.ERROR if ending.status == "failed" else logging.WARNING
            extra = {"run_key": str(self.run_key), "status": ending.status}
            _logger.log(level, "run %s is now %s: %r", self.run_key, ending.status, reason, extra=extra)
        return ending

    def comes_back_in(self, ending: Settle) -> float | None:
        """Returns the seconds until a run that was left this way wants to be claimed again, ``None`` if it has
        ended."""
        if ending.is_terminal:
            return None
        wake_in, remaining = ending.wake_in or 0.0, self.remaining()
        return wake_in if remaining is None else min(wake_in, max(remaining, 0.0))

    def machine(self, history: History) -> Machine:
        """Returns a machine that will execute the workflow from the top."""
        return Machine(history, self.codec, output=f"the output of run {self.run_key}")

    def start(self, machine: Machine) -> list[Command]:
        """Starts the workflow on its machine. Returns its first commands. If the input does not fit the type that the
        code declares, nothing is started, and the run is set aside."""
        claimed = self.claimed
        try:
            arguments = self._arguments()
        except DeserializationError as error:
            return [SetAside(NondeterminismError.of_type(error))]
        ctx = Context(
            machine,
            self.run_key,
            self.workflow.name,
            claimed.version,
            claimed.attempts + 1,
            claimed.scheduled_at,
            self._worker_codec,
        )
        return machine.start(self._main(ctx, arguments))

    async def _main(self, ctx: Context, arguments: tuple[object, ...]) -> object:
        return await self.workflow.function(ctx, *arguments)

    def _arguments(self) -> tuple[object, ...]:
        workflow = self.workflow
        if not workflow.takes_input:
            return ()
        return (self.codec.decode(self.claimed.input, workflow.input_type, f"the input of run {self.run_key}"),)
