"""Runs that the code of this process does not match, and which it therefore leaves to others for a while."""

from __future__ import annotations

import time
from collections import OrderedDict

_MOST = 1000
"""So many are left out of a claim by name; of more, the longest known are claimed like any other."""


class Asides:
    """Who has set a run aside knows its wake best, and would be the first to claim it again and again."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, run_id: str, seconds: float) -> None:
        """The others may go first for so long."""
        self._until[run_id] = time.monotonic() + seconds
        self._until.move_to_end(run_id)
        if len(self._until) > _MOST:
            self._until.popitem(last=False)

    def run_ids(self) -> list[str]:
        """Those that are still left to others."""
        now = time.monotonic()
        for run_id in [run_id for run_id, until in self._until.items() if until <= now]:
            del self._until[run_id]
        return list(self._until)
