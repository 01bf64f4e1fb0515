"""Runs that the code of this process does not match, and which it therefore leaves to others for a while."""

from __future__ import annotations

from collections import OrderedDict

from durable.worker.clock import Clock

_MAX_ASIDES = 1000
"""At most this many runs are excluded from a claim; beyond that, the oldest exclusions are dropped."""


class Asides:
    """Who has set a run aside knows its wake best, and would be the first to claim it again and again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, run_id: str, seconds: float) -> None:
        """The others may go first for so long."""
        self._until[run_id] = self._clock.monotonic() + seconds
        self._until.move_to_end(run_id)
        if len(self._until) > _MAX_ASIDES:
            self._until.popitem(last=False)

    def run_ids(self) -> list[str]:
        """Those that are still left to others."""
        now = self._clock.monotonic()
        for run_id in [run_id for run_id, until in self._until.items() if until <= now]:
            del self._until[run_id]
        return list(self._until)
