"""The worker's right to its runs: a session lock and a heartbeat, kept by a thread of its own.

A thread, with a loop and a connection of its own, so that a blocked event loop is reported and not declared dead, and a
busy pool holds up no heartbeat. The same thread looks after the others: whose lock is gone for good, or whose heartbeat
is older than their lease, loses its runs. A worker that reaches nobody for so long gives its own up, just before the
others may take them.
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
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection

from durable.core.shard import shard_values
from durable.database import Database, commit, run
from durable.drive import run_async
from durable.store.backends import is_pooled
from durable.store.engine import (
    Suspect,
    TakenOver,
    announce_taken_over,
    beat,
    orphan_owners,
    register_worker,
    remove_worker,
    suspect_workers,
    take_over_runs,
)
from durable.store.family import tell_parents
from durable.store.statement import Statement, T
from durable.watch import answering

_logger = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0
_BEATS_A_LEASE = 3
_SECOND_LOOK_SECONDS = 0.7
"""A lock that is missing at two looks this far apart is gone for good; a reconnecting worker takes it back sooner."""
_ORPHANS_SECONDS = 20.0
_ANSWER_SECONDS = 3.0
_TAKEOVER_SECONDS = 10.0
_MOST_TAKEN_OVER = 1000
"""At once; half as many where that took too long, and more again where it did not."""
_RECONNECT_SECONDS = 0.2
_FAREWELL_SECONDS = 5.0
_BLOCKED_SECONDS = 5.0


class Lease:
    """``worker_id`` is new in each process and each time the lease was lost; ``lost`` is then called in the loop, and
    ``raised`` when the shard count was raised."""

    def __init__(
        self,
        database: Database,
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
        self._database = database
        self._schema = schema
        self._workflows = list(workflows)
        self.shard_count = shard_count
        self._lease = lease
        self._beat_seconds = min(_BEAT_SECONDS, lease / _BEATS_A_LEASE)
        self._max_strikes = max_strikes
        self._lost = lost
        self._raised = raised
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._loop_seen = time.monotonic()
        self._blocked_limit = self._least_blocked = min(_BLOCKED_SECONDS, lease)
        self._last_beat = float("-inf")
        self._is_lock_possible = True
        self._has_expired = False
        self._expiry: asyncio.TimerHandle | None = None
        self._registered = asyncio.Event()
        self._batch = _MOST_TAKEN_OVER
        self._sightings: dict[str, float] = {}
        self._next_orphans = time.monotonic() + random.uniform(0, _ORPHANS_SECONDS)
        self._own_loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="durable-lease", daemon=True)

    async def start(self) -> None:
        """Returns once the worker is registered, however long the database takes."""
        self._thread.start()
        await self._registered.wait()

    @property
    def is_held(self) -> bool:
        """Whether the last heartbeat is younger than the lease, by this machine's own clock."""
        return time.monotonic() - self._last_beat < self._lease

    @property
    def is_in_touch(self) -> bool:
        """Whether the database has answered just now."""
        return time.monotonic() - self._last_beat < self._beat_seconds + _ANSWER_SECONDS

    def stop(self) -> None:
        """Gives the lease back; returns when the thread has ended, at once where the database does not answer."""
        with suppress(RuntimeError):  # it has ended
            self._own_loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    # in the thread

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._own_loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        keeping = asyncio.create_task(self._keep_for_ever())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        patience = _FAREWELL_SECONDS if self.is_in_touch else _RECONNECT_SECONDS
        while not keeping.done():
            await asyncio.wait({keeping}, timeout=patience)
            keeping.cancel()  # twice, where need be: psycopg answers a first cancel by asking the server
            patience = _RECONNECT_SECONDS
        stopping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping

    async def _keep_for_ever(self) -> None:
        while not self._stopping.is_set():
            try:
                connection = await self._database.connect()
                try:
                    await self._keep(connection)
                finally:
                    await connection.close()
            except (psycopg.Error, OSError) as error:
                if not self._stopping.is_set():
                    _logger.warning("the lease waits for the database: %s", error)
                    await self._pause(_RECONNECT_SECONDS)

    async def _keep(self, connection: AsyncConnection[Any]) -> None:
        with answering(connection, _ANSWER_SECONDS):
            self._is_lock_possible = not await run_async(connection, is_pooled(connection.info.backend_pid))
        await self._lock(connection)
        if not self._registered.is_set():
            await self._register(connection)
            self._loop.call_soon_threadsafe(self._registered.set)
        while not self._stopping.is_set():
            await self._beat(connection)
            self._watch_loop()
            await self._pause(await self._look_after_others(connection))
        # What a cancelled claim left behind goes on at once, and not as an orphan.
        await self._give_up(connection, self.worker_id, self._workflows, is_strike=False)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _ask(self, connection: AsyncConnection[Any], statement: Statement[T]) -> T:
        with answering(connection, _ANSWER_SECONDS):
            return await run(connection, statement)

    # the right to the own runs

    async def _lock(self, connection: AsyncConnection[Any]) -> None:
        if self._is_lock_possible:
            with answering(connection, _ANSWER_SECONDS):
                await connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", (self._lock_key,))

    @property
    def _lock_key(self) -> int:
        return UUID(self.worker_id).int >> 65

    async def _register(self, connection: AsyncConnection[Any]) -> None:
        statement = register_worker(
            self._schema,
            self.worker_id,
            lock_key=self._lock_key if self._is_lock_possible else None,
            hostname=socket.gethostname(),
            process_id=os.getpid(),
            workflows=self._workflows,
            lease=self._lease,
        )
        await self._ask(connection, statement)

    async def _beat(self, connection: AsyncConnection[Any]) -> None:
        shard_count = await self._show_life(connection)
        if shard_count is None or self._has_expired:
            await self._take_new_identity(connection)
        elif shard_count > self.shard_count:
            self.shard_count = shard_count
            self._loop.call_soon_threadsafe(self._raised, shard_count)

    async def _show_life(self, connection: AsyncConnection[Any]) -> int | None:
        sent = self._own_loop.time()
        shard_count = await self._ask(connection, beat(self._schema, self.worker_id))
        if shard_count is not None:
            self._renewed(sent)
        return shard_count

    def _renewed(self, sent: float) -> None:
        self._last_beat = sent
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._own_loop.call_at(sent + self._lease, self._expire)

    def _expire(self) -> None:
        extra = {"worker_id": self.worker_id}
        _logger.error("worker %s reached nobody for its lease: it gives its runs up", self.worker_id, extra=extra)
        self._has_expired = True
        self._loop.call_soon_threadsafe(self._lost)

    async def _take_new_identity(self, connection: AsyncConnection[Any]) -> None:
        extra = {"worker_id": self.worker_id}
        _logger.error("worker %s lost its lease: its runs belong to others now", self.worker_id, extra=extra)
        await self._give_up(connection, self.worker_id, self._workflows, is_strike=False)
        self.worker_id = str(uuid4())
        self._has_expired = False
        await self._lock(connection)
        await self._register(connection)
        self._renewed(self._own_loop.time())
        self._loop.call_soon_threadsafe(self._lost)

    # the others

    async def _look_after_others(self, connection: AsyncConnection[Any]) -> float:
        """Returns seconds until the next look."""
        now = time.monotonic()
        suspects = await self._ask(connection, suspect_workers(self._schema, self.worker_id))
        self._sightings = {suspect.worker_id: self._sightings.get(suspect.worker_id, now) for suspect in suspects}
        for suspect in suspects:
            if suspect.is_stale or now - self._sightings[suspect.worker_id] >= _SECOND_LOOK_SECONDS:
                await self._bury(connection, suspect)
        if now >= self._next_orphans:
            self._next_orphans = now + _ORPHANS_SECONDS
            await self._adopt_orphans(connection)
        return min(_SECOND_LOOK_SECONDS, self._beat_seconds) if suspects else self._beat_seconds

    async def _bury(self, connection: AsyncConnection[Any], dead: Suspect) -> None:
        extra = {"worker_id": dead.worker_id}
        _logger.warning("worker %s is dead: its runs are taken over", dead.worker_id, extra=extra)
        await self._give_up(connection, dead.worker_id, dead.workflows)

    async def _give_up(
        self,
        connection: AsyncConnection[Any],
        worker_id: str,
        workflows: Sequence[str],
        *,
        is_strike: bool = True,
    ) -> None:
        for workflow in workflows:
            for shard_value in shard_values(workflow, self.shard_count):
                await self._take_over(connection, shard_value, worker_id, is_strike=is_strike)
        await self._ask(connection, remove_worker(self._schema, worker_id))

    async def _adopt_orphans(self, connection: AsyncConnection[Any]) -> None:
        for workflow in self._workflows:
            for shard_value in shard_values(workflow, self.shard_count):
                for owner in await self._ask(connection, orphan_owners(self._schema, shard_value)):
                    await self._take_over(connection, shard_value, owner)

    async def _take_over(
        self, connection: AsyncConnection[Any], shard_value: str, owner: str, *, is_strike: bool = True
    ) -> None:
        extra = {"worker_id": owner, "shard_value": shard_value}
        is_more = True
        while is_more:
            batch = self._batch
            taken = await self._take_over_batch(connection, shard_value, owner, is_strike=is_strike)
            for run_id in taken.failed:
                _logger.error("run %s:%s is failed: CrashLoop", shard_value, run_id, extra=extra)
            if taken.queued:
                level = logging.WARNING if is_strike else logging.INFO
                _logger.log(level, "%d runs of %s are free again", len(taken.queued), shard_value, extra=extra)
            is_more = len(taken.queued) + len(taken.failed) == batch
            if time.monotonic() - self._last_beat > self._beat_seconds:
                await self._show_life(connection)

    async def _take_over_batch(
        self, connection: AsyncConnection[Any], shard_value: str, owner: str, *, is_strike: bool
    ) -> TakenOver:
        statement = take_over_runs(
            self._schema, shard_value, owner, self._batch, max_strikes=self._max_strikes, is_strike=is_strike
        )
        before, self._batch = self._batch, max(1, self._batch // 2)  # for the next try, should this one be cut off
        with answering(connection, _TAKEOVER_SECONDS):
            taken: TakenOver
            taken, *_ = await commit(
                connection, [statement], following=lambda answers: tell_parents(self._schema, answers[0].children)
            )
        is_full = len(taken.queued) + len(taken.failed) == before
        self._batch = min(before + before // 8 + 1, _MOST_TAKEN_OVER) if is_full else before
        for notice in announce_taken_over(self._schema, taken):
            await self._ask(connection, notice)
        return taken

    # the event loop

    def _watch_loop(self) -> None:
        blocked = time.monotonic() - self._loop_seen
        if blocked > self._blocked_limit:
            self._blocked_limit = 2 * blocked
            frame = sys._current_frames().get(self._loop_thread)
            stack = "".join(traceback.format_stack(frame)) if frame else "(no stack)"
            _logger.error("the event loop is blocked since %.1f s; put blocking calls in steps:\n%s", blocked, stack)
        self._loop.call_soon_threadsafe(self._see_loop)

    def _see_loop(self) -> None:
        self._loop_seen = time.monotonic()
        self._blocked_limit = self._least_blocked
