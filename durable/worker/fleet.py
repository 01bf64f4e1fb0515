"""Keeps track of which other workers listen, for the sake of ``precedence``."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from durable.postgres.connection import EngineConnection
from durable.store.workers import ListeningWorker, listening_workers

_READ_A_SECOND = 10
"""Rows that one worker reads a second at most: a large fleet is read less often, because each of its workers reads
it."""


class Fleet:
    """``changed`` is called, in the thread of the lease, with the workers that listen, whenever they are others than
    before."""

    def __init__(self, changed: Callable[[Sequence[ListeningWorker]], object]) -> None:
        self._changed = changed
        self._listening: list[ListeningWorker] = []
        self._known: list[ListeningWorker] = []
        self._next_look = 0.0

    async def look(self, connection: EngineConnection, patience: float, dead: Collection[str]) -> None:
        """Called after each heartbeat with the workers that show no sign of life."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + len(self._listening) / _READ_A_SECOND
            self._listening = await connection.answer(listening_workers(), patience)
        known = sorted(
            (worker for worker in self._listening if worker.worker_id not in dead), key=lambda worker: worker.worker_id
        )
        if known != self._known:
            self._known = known
            self._changed(known)
