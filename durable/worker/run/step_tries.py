"""What is known of the tries of the steps of one run that have no answer yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from durable.core.replay.commands import Command, Execute, Transact, Undo
from durable.core.replay.history import OpenWait
from durable.core.replay.tries import FailedTry, StepKind, Tries, still_failing
from durable.worker.clock import Clock
from durable.worker.run.step_calls import Before, Finished

_BRIEF_SECONDS = 1.0
"""A run stays on its worker while a step waits for no longer than this for its next try."""

_DETAILS_SECONDS = 1.0
"""Between two records of how far the steps of a run have come."""


class StepTries:
    """By the keys of the steps; a step that has not failed is not in it, unless it has said something."""

    __slots__ = ("_brief", "_by_key", "_clock", "_interrupted", "_is_recording", "_unrecorded")

    def __init__(self, clock: Clock, open_waits: Iterable[OpenWait]) -> None:
        self._clock = clock
        self._by_key = {wait.key: wait.tries for wait in open_waits if wait.tries is not None}
        self._interrupted: dict[str, int] = {}
        self._brief: set[str] = set()
        self._unrecorded: dict[str, Execute] = {}
        self._is_recording = False

    @property
    def are_due_soon(self) -> bool:
        """Returns whether a step will be tried again so soon that its run stays here."""
        return bool(self._brief)

    def interrupted(self, commands: Iterable[Command], times: int) -> None:
        """Notes that workers have died, that many times, while these steps may have been under way."""
        self._interrupted.update((call.key, times) for call in commands if isinstance(call, Execute))

    def get(self, key: str) -> Tries | None:
        """Returns what is recorded, ``None`` if that is nothing."""
        return self._by_key.get(key)

    def before(self, key: str) -> Before:
        """Returns what the next try must know."""
        tries, interrupted = self._by_key.get(key), self._interrupted.get(key, 0)
        if tries is None:
            return Before(0, interrupted)
        return Before(tries.failures, tries.failures + interrupted, tries.detail)

    def begins(self, call: Execute, now: datetime) -> Tries:
        """Returns what must be recorded before the call of a step that may be called at most once."""
        tries = self._by_key[call.key] = Tries(_kind_of(call), now, is_mark=True)
        return tries

    def failed(self, call: Execute, failed: FailedTry, now: datetime) -> Tries:
        """Returns what must be recorded of a try that has failed."""
        tries = self._of(call, now)
        tries = msgspec.structs.replace(tries, failures=tries.failures + 1, error=failed.error)
        self._by_key[call.key] = tries
        if failed.delay <= _BRIEF_SECONDS:
            self._brief.add(call.key)
        return tries

    def said(self, call: Execute, detail: str, now: datetime, record: Callable[[], None]) -> None:
        """Notes what a step has said, and calls ``record``, but not more often than about once a second. A transaction
        that is cut off has done nothing, so nothing of it is recorded."""
        self._by_key[call.key] = msgspec.structs.replace(self._of(call, now), detail=detail)
        if not isinstance(call, Transact):
            self._unrecorded[call.key] = call
            if not self._is_recording:
                record()

    def take_unrecorded(self, record: Callable[[], None]) -> list[tuple[Execute, Tries]]:
        """Returns what steps have said since the last time and must be recorded. If there was anything, ``record`` is
        called again after a while."""
        unrecorded, self._unrecorded = self._unrecorded, {}
        self._is_recording = bool(unrecorded)
        if unrecorded:
            self._clock.call_later(_DETAILS_SECONDS, record)
        return [(call, self._by_key[key]) for key, call in unrecorded.items()]

    def _of(self, call: Execute, now: datetime) -> Tries:
        return self._by_key.get(call.key) or Tries(_kind_of(call), now)

    def is_due(self, key: str) -> None:
        """Notes that the step is no longer waiting for its next try."""
        self._brief.discard(key)

    def still_failing(self) -> str:
        """Returns the encoded error that the run shows while steps of it wait for their next try, empty if none
        does."""
        for key in reversed(self._by_key):
            if self._by_key[key].failures:
                return still_failing(key, self._by_key[key]).text
        return ""

    def over(self, key: str) -> Tries | None:
        """Forgets a step that has an answer or that nothing waits for any longer. Returns what was recorded."""
        self._brief.discard(key)
        self._unrecorded.pop(key, None)
        return self._by_key.pop(key, None)


def in_all(finished: Finished, tries: Tries | None, now: datetime) -> Finished:
    """Returns the result of a step with the time that all its tries took."""
    if tries is None or tries.is_mark:
        return finished
    return msgspec.structs.replace(finished, took=max((now - tries.began).total_seconds(), finished.took))


def _kind_of(call: Execute) -> StepKind:
    if isinstance(call, Undo):
        return "undo"
    return "transaction" if isinstance(call, Transact) else "execute"
