"""What routing leaves out for a while, because the end of a child could not be put into the inbox of its parent."""

from __future__ import annotations

from collections.abc import Sequence

from durable.worker.asides import Asides
from durable.worker.clock import Clock

_MAX_ROUTED = 1000
BLOCKED_SECONDS = 2.0
"""How long a child is left out that somebody's transaction has blocked."""


class Detours:
    """Routing ends children and tells their parents in one transaction. If that is blocked for one of them, the runs of
    its shard value are routed one by one until it is known which one it is, and then more at once again."""

    def __init__(self, clock: Clock) -> None:
        self._asides = Asides(clock)
        self._limits: dict[str, int] = {}

    def limit(self, shard_value: str) -> int:
        """Returns how many runs may be routed at once."""
        return self._limits.get(shard_value, _MAX_ROUTED)

    def left_out(self) -> list[str]:
        """Returns the ids of the children that are left out."""
        return self._asides.run_ids()

    def blocked(self, shard_value: str, children: Sequence[str]) -> None:
        """Notes that one of these could not end."""
        if len(children) == 1:
            self._asides.add(children[0], BLOCKED_SECONDS)
        else:
            self._limits[shard_value] = 1

    def routed(self, shard_value: str) -> None:
        """Notes that nothing was blocked."""
        limit = 2 * self._limits.pop(shard_value, _MAX_ROUTED)
        if limit < _MAX_ROUTED:
            self._limits[shard_value] = limit
