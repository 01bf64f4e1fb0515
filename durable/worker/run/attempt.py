"""One attempt: a run as it was claimed, its clock, and the machine that executes it."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterable
from datetime import datetime, timedelta
from typing import Any

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import decode_at, place_of_input
from durable.core.errors import DeserializationError
from durable.core.replay.commands import Complete, ContinueAsNew, EndCancelled, Fail, SetAside
from durable.core.replay.context import Context
from durable.core.replay.endings import Settle, ending_of
from durable.core.replay.history import History
from durable.core.replay.machine import Machine
from durable.core.replay.numbered import salt_of
from durable.core.replay.workflow import Workflow
from durable.core.run_options import Given
from durable.core.runs import RunKey
from durable.store.records import ClaimedRun
from durable.store.sequels import EndedRun
from durable.worker.clock import Clock

_logger = logging.getLogger("durable.worker")

_MAX_NAMED = 10
"""At most this many dropped calls are named in a log line."""


class Attempt:
    """``codec`` is the workflow's own codec if it has one, otherwise the worker's."""

    __slots__ = ("_claimed_at", "_clock", "_worker_codec", "claimed", "codec", "given", "run_key", "workflow")

    def __init__(
        self, workflow: Workflow[Any, Any], run_key: RunKey, claimed: ClaimedRun, codec: Codec, clock: Clock
    ) -> None:
        self.workflow = workflow
        self.run_key = run_key
        self.claimed = claimed
        self.codec = workflow.codec or codec
        self._worker_codec = codec
        self._clock = clock
        self.given = Given(claimed.tags, claimed.headers)
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

    def ending_of(self, decision: Complete | ContinueAsNew | Fail | EndCancelled | SetAside) -> Settle:
        """Returns how the run ends now that its machine has decided, and logs it if that did not go well."""
        claimed = self.claimed
        ending = ending_of(decision, self.workflow.retry, attempts=claimed.attempts, set_asides=claimed.set_asides)
        if isinstance(decision, Complete | ContinueAsNew) and decision.unfinished:
            _logger.warning(
                "run %s %s although tasks that it had started still waited for %s; these calls are dropped: "
                "await the tasks before the workflow %s",
                self.run_key,
                "returned" if isinstance(decision, Complete) else "continued as new",
                ", ".join(decision.unfinished[:_MAX_NAMED]) + (", …" if len(decision.unfinished) > _MAX_NAMED else ""),
                "returns" if isinstance(decision, Complete) else "continues",
                extra={"run_key": str(self.run_key)},
            )
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
        claimed = self.claimed
        return Machine(
            history,
            self.codec,
            output=self._output,
            output_type=self.workflow.output_type,
            run_id=claimed.run_id,
            began=claimed.began_at or claimed.claimed_at,
            clock=self.now,
            salt=salt_of(claimed.run_id),
            may_break_off=True,
        )

    def main(self, machine: Machine) -> Coroutine[Any, Any, object]:
        """Returns the workflow's coroutine, to be run by that machine."""
        claimed = self.claimed
        ctx = Context(
            machine,
            self.run_key,
            self.workflow.name,
            claimed.version,
            claimed.attempts + 1,
            claimed.scheduled_at,
            self._worker_codec,
            self.given,
            self.workflow.retry.max_attempts,
            self.workflow,
            claimed.chapter or 1,
        )
        machine.loop.run_context = ctx
        return self._main(machine, ctx)

    async def _main(self, machine: Machine, ctx: Context) -> object:
        workflow = self.workflow
        if not workflow.takes_input:
            return await workflow.function(ctx)
        if self.claimed.input is None:
            raise DeserializationError(self._input(), "it takes more than 64 MiB, which is too large to be loaded")
        try:
            place = place_of_input(
                workflow.name,
                self.claimed.run_id,
                self.claimed.parent_run_id,
                is_scheduled=self.claimed.scheduled_at is not None,
                has_continued=self.claimed.chapter is not None,
            )
            value = decode_at(
                self.codec, place.kind, place.owner, "", self.claimed.input, workflow.input_type, self._input
            )
        except DeserializationError as error:
            machine.does_not_fit(error)
            return None
        return await workflow.function(ctx, value)

    def _input(self) -> str:
        return f"the input of run {self.run_key}"

    def _output(self) -> str:
        return f"the output of run {self.run_key}"

    def log_unsent(self, events: Iterable[str]) -> None:
        """Logs that no run has taken these events, of which the run that has sent them is not told."""
        for event in events:
            _logger.warning(
                "run %s has sent the %s, but there is no such run, or it has ended, so that nobody will read it",
                self.run_key,
                event,
                extra={"run_key": str(self.run_key)},
            )

    def ended(self, ending: Settle) -> EndedRun:
        """Returns the run as it is once it has ended like that."""
        claimed = self.claimed
        return EndedRun(
            run_id=claimed.run_id,
            epoch=claimed.epoch,
            status=ending.status,
            error=ending.error,
            input=claimed.input,
            tags=claimed.tags,
            headers=claimed.headers,
            is_scheduled=claimed.scheduled_at is not None,
            has_continued=claimed.chapter is not None,
            parent_run_id=claimed.parent_run_id,
        )
