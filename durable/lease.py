"""The worker's right to its runs: a session lock and a heartbeat, kept by a thread of its own.

A thread, so that a blocked event loop is reported and not declared dead. The same thread looks after the others: whose
lock is gone for good, or whose heartbeat is older than their lease, loses its runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import psycopg

from durable.core.shard import shard_values
from durable.store.engine import (
    Suspect,
    announce_taken_over,
    beat,
    orphan_owners,
    register_worker,
    remove_worker,
    suspect_workers,
    take_over_runs,
)
from durable.store.statement import Statement, T

_logger = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0
_SECOND_LOOK_SECONDS = 0.7
"""A lock that is missing at two looks this far apart is gone for good; a reconnecting worker takes it back sooner."""
_ORPHANS_SECONDS = 20.0
_CONNECT_SECONDS = 3
_BLOCKED_SECONDS = 5.0


class Lease:
    """``worker_id`` is new in each process and each time the lease was lost; ``lost`` is then called in the loop, and
    ``raised`` when the shard count was raised."""

    def __init__(
        self,
        conninfo: str,
        options: dict[str, Any],
        schema: str,
        workflows: Sequence[str],
        shard_count: int,
        *,
        lease: float,
        max_strikes: int,
        lost: Callable[[], None],
        raised: Callable[[int], None],
    ) -> None:
        self.worker_id = str(uuid4())
        self._conninfo = conninfo
        self._options = options
        self._schema = schema
        self._workflows = list(workflows)
        self.shard_count = shard_count
        self._lease = lease
        self._max_strikes = max_strikes
        self._lost = lost
        self._raised = raised
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._loop_seen = time.monotonic()
        self._last_beat = float("-inf")
        self._registered = asyncio.Event()
        self._stopping = threading.Event()
        self._sightings: dict[str, float] = {}
        self._next_orphans = time.monotonic() + random.uniform(0, _ORPHANS_SECONDS)
        self._thread = threading.Thread(target=self._run, name="durable-lease", daemon=True)

    async def start(self) -> None:
        """Returns once the worker is registered, however long the database takes."""
        self._thread.start()
        await self._registered.wait()

    @property
    def is_held(self) -> bool:
        """Whether the last heartbeat is younger than the lease, by this machine's own clock."""
        return time.monotonic() - self._last_beat < self._lease

    def stop(self) -> None:
        """Gives the lease back; returns when the thread has ended, within a few seconds."""
        self._stopping.set()
        self._thread.join(_CONNECT_SECONDS + _BEAT_SECONDS)

    # in the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._conninfo, connect_timeout=_CONNECT_SECONDS, **self._options) as connection:
                    self._keep(connection)
            except (psycopg.Error, OSError) as error:
                if not self._stopping.is_set():
                    _logger.warning("the lease waits for the database: %s", error)
                    self._stopping.wait(0.2)

    def _keep(self, connection: psycopg.Connection[Any]) -> None:
        self._lock(connection)
        if not self._registered.is_set():
            self._register(connection)
            self._loop.call_soon_threadsafe(self._registered.set)
        while not self._stopping.is_set():
            shard_count = _run(connection, beat(self._schema, self.worker_id))
            if shard_count is None:
                self._take_new_identity(connection)
            elif shard_count > self.shard_count:
                self.shard_count = shard_count
                self._loop.call_soon_threadsafe(self._raised, shard_count)
            self._last_beat = time.monotonic()
            self._watch_loop()
            pause = self._look_after_others(connection)
            self._stopping.wait(pause)
        # What a cancelled claim left behind goes on at once, and not as an orphan.
        self._give_up(connection, self.worker_id, self._workflows, is_strike=False)

    def _lock(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("SELECT pg_try_advisory_lock(%s)", (self._lock_key,))

    @property
    def _lock_key(self) -> int:
        return UUID(self.worker_id).int >> 65

    def _register(self, connection: psycopg.Connection[Any]) -> None:
        statement = register_worker(
            self._schema,
            self.worker_id,
            lock_key=self._lock_key,
            hostname=socket.gethostname(),
            process_id=os.getpid(),
            workflows=self._workflows,
            lease=self._lease,
        )
        _run(connection, statement)

    def _take_new_identity(self, connection: psycopg.Connection[Any]) -> None:
        extra = {"worker_id": self.worker_id}
        _logger.error("worker %s was declared dead: its runs belong to others now", self.worker_id, extra=extra)
        self.worker_id = str(uuid4())
        self._lock(connection)
        self._register(connection)
        self._loop.call_soon_threadsafe(self._lost)

    def _look_after_others(self, connection: psycopg.Connection[Any]) -> float:
        """Returns seconds until the next look."""
        now = time.monotonic()
        suspects = _run(connection, suspect_workers(self._schema, self.worker_id))
        self._sightings = {suspect.worker_id: self._sightings.get(suspect.worker_id, now) for suspect in suspects}
        for suspect in suspects:
            if suspect.is_stale or now - self._sightings[suspect.worker_id] >= _SECOND_LOOK_SECONDS:
                self._bury(connection, suspect)
        if now >= self._next_orphans:
            self._next_orphans = now + _ORPHANS_SECONDS
            self._adopt_orphans(connection)
        return _SECOND_LOOK_SECONDS if suspects else _BEAT_SECONDS

    def _bury(self, connection: psycopg.Connection[Any], dead: Suspect) -> None:
        extra = {"worker_id": dead.worker_id}
        _logger.warning("worker %s is dead: its runs are taken over", dead.worker_id, extra=extra)
        self._give_up(connection, dead.worker_id, dead.workflows)

    def _give_up(
        self, connection: psycopg.Connection[Any], worker_id: str, workflows: Sequence[str], *, is_strike: bool = True
    ) -> None:
        for workflow in workflows:
            for shard_value in shard_values(workflow, self.shard_count):
                self._take_over(connection, shard_value, worker_id, is_strike=is_strike)
        _run(connection, remove_worker(self._schema, worker_id))

    def _adopt_orphans(self, connection: psycopg.Connection[Any]) -> None:
        for workflow in self._workflows:
            for shard_value in shard_values(workflow, self.shard_count):
                for owner in _run(connection, orphan_owners(self._schema, shard_value)):
                    self._take_over(connection, shard_value, owner)

    def _take_over(
        self, connection: psycopg.Connection[Any], shard_value: str, owner: str, *, is_strike: bool = True
    ) -> None:
        taken = _run(
            connection,
            take_over_runs(self._schema, shard_value, owner, max_strikes=self._max_strikes, is_strike=is_strike),
        )
        extra = {"worker_id": owner, "shard_value": shard_value}
        for run_id in taken.failed:
            _logger.error("run %s:%s is failed: CrashLoop", shard_value, run_id, extra=extra)
        if taken.queued:
            level = logging.WARNING if is_strike else logging.INFO
            _logger.log(level, "%d runs of %s are free again", len(taken.queued), shard_value, extra=extra)
        for notice in announce_taken_over(self._schema, taken):
            _run(connection, notice)

    def _watch_loop(self) -> None:
        blocked = time.monotonic() - self._loop_seen
        if blocked > _BLOCKED_SECONDS:
            frame = sys._current_frames().get(self._loop_thread)
            stack = "".join(traceback.format_stack(frame)) if frame else "(no stack)"
            _logger.error("the event loop is blocked since %.1f s; put blocking calls in steps:\n%s", blocked, stack)
        self._loop.call_soon_threadsafe(self._see_loop)

    def _see_loop(self) -> None:
        self._loop_seen = time.monotonic()


def _run(connection: psycopg.Connection[Any], statement: Statement[T]) -> T:
    cursor = connection.execute(statement.sql, statement.params)
    return statement.read(cursor.fetchall() if cursor.description else [])
