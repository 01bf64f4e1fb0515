"""Runs for which there is no free place here: other workers may have free places without knowing of these runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from durable.store.channels import announce_runs_to_all
from durable.store.statement import Batch
from durable.worker.clock import Clock
from durable.worker.database import Database

_HEARD_SECONDS = 0.05
"""The least pause before another announcement is passed on: while all workers are full, each one is in vain."""
_MARGIN_SECONDS = 0.005


class PassedOn:
    """Announces such runs to all workers: those that were announced to this worker soon, and those that it knows to
    have waited at most every ``interval`` seconds. ``awaken`` is called when something can be announced."""

    def __init__(self, database: Database, clock: Clock, interval: float, awaken: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._interval = interval
        self._awaken = awaken
        self._heard: set[str] = set()
        self._heard_at = float("-inf")
        self._waiting: set[str] = set()
        self._waiting_at = float("-inf")

    def __bool__(self) -> bool:
        return bool(self._heard or self._waiting)

    def heard(self, shard_value: str) -> None:
        """Passes on what was announced to this worker."""
        if not self._heard:
            wait = self._heard_at + _HEARD_SECONDS - self._clock.monotonic()
            self._clock.call_later(max(wait + _MARGIN_SECONDS, 0.0), self._awaken)
        self._heard.add(shard_value)

    def waiting(self, shard_values: Iterable[str]) -> None:
        """Passes on runs that are known to wait."""
        self._waiting.update(shard_values)

    async def announce(self) -> None:
        """Announces what it is time for."""
        shard_values: set[str] = set()
        now = self._clock.monotonic()
        if self._heard and now - self._heard_at >= _HEARD_SECONDS:
            self._heard_at = now
            shard_values, self._heard = self._heard, shard_values
        if self._waiting and now - self._waiting_at >= self._interval:
            self._waiting_at = now
            shard_values |= self._waiting
            self._waiting = set()
        if not shard_values:
            return
        try:
            async with self._database.engine() as connection:
                await connection.run(Batch([announce_runs_to_all(shard_value) for shard_value in sorted(shard_values)]))
        except BaseException:
            self._waiting.update(shard_values)
            raise
