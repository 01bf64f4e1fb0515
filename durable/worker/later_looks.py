"""Looks that are not made at once, because other workers come first."""

from __future__ import annotations

from collections.abc import Callable

from durable.worker.clock import Clock, Timer


class LaterLooks:
    """Plans at most one look at each shard value, the earliest; ``look`` is called when it is due."""

    def __init__(self, clock: Clock, look: Callable[[str], None]) -> None:
        self._clock = clock
        self._look = look
        self._planned: dict[str, tuple[float, Timer]] = {}

    def plan(self, shard_value: str, seconds: float) -> None:
        """Plans a look that many seconds from now, unless one is planned for an earlier moment."""
        moment = self._clock.monotonic() + seconds
        planned = self._planned.get(shard_value)
        if planned is None or moment < planned[0]:
            self.cancel(shard_value)
            self._planned[shard_value] = moment, self._clock.call_later(seconds, self._due, shard_value)

    def cancel(self, shard_value: str) -> None:
        """Called before each look at the shard value, which takes what has gathered."""
        planned = self._planned.pop(shard_value, None)
        if planned is not None:
            planned[1].cancel()

    def _due(self, shard_value: str) -> None:
        del self._planned[shard_value]
        self._look(shard_value)
