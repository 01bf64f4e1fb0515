"""Runs that the code of this process does not match, and that it therefore leaves to other workers for a while."""

from __future__ import annotations

from collections import OrderedDict

from durable.worker.clock import Clock

_MAX_ASIDES = 1000
"""At most this many runs are excluded from a claim; beyond that, the oldest exclusions are dropped."""


class Asides:
    """Keeps a worker from claiming a run that it has set aside: it knows best when the run wakes, and would otherwise
    be the first to claim it, again and again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, run_id: str, seconds: float) -> None:
        """Lets other workers go first for that many seconds."""
        self._until[run_id] = self._clock.monotonic() + seconds
        self._until.move_to_end(run_id)
        if len(self._until) > _MAX_ASIDES:
            self._until.popitem(last=False)

    def run_ids(self) -> list[str]:
        """Returns the ids of the runs that are still left to other workers."""
        now = self._clock.monotonic()
        for run_id in [run_id for run_id, until in self._until.items() if until <= now]:
            del self._until[run_id]
        return list(self._until)
