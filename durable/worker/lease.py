"""A worker's right to its runs: a session lock and a heartbeat, kept by a thread of its own.

The thread has its own event loop and its own connection, so that a blocked main event loop is reported rather than
taken for a dead worker, and so that a busy pool does not hold up the heartbeat. The same thread looks after the other
workers, over another connection. A worker that cannot reach the database within its lease abandons its runs, just
before the other workers may take them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

import psycopg

from durable.postgres.connection import EngineConnection
from durable.postgres.silence import ANSWER_SECONDS
from durable.store.channels import announce_departure
from durable.store.pauses import list_pauses, paused_names
from durable.store.sessions import hold_lock
from durable.store.workers import Heard, ListeningWorker, Offer, beat, register_worker
from durable.telemetry.telling import Telling
from durable.worker.blocked import LoopWatch
from durable.worker.database import Database
from durable.worker.fleet import Fleet
from durable.worker.outages import Outages
from durable.worker.sequels import Sequels
from durable.worker.takeover import SECOND_LOOK_SECONDS, Takeover
from durable.worker.tasks import cancel_and_wait

_logger = logging.getLogger("durable.worker")

_BEAT_SECONDS = 1.0
_BEATS_A_LEASE = 3
_RECONNECT_SECONDS = 0.1
"""How long the end of the thread is waited for while the database does not answer."""
_TAKEOVER_SECONDS = 1.0
"""The least time that an answer may take in a takeover. No heartbeat waits for a takeover, so with the shortest leases
its answers may take longer than those to heartbeats."""
_FAREWELL_SECONDS = 5.0


class Lease:
    """``offers`` are the worker's workflows, by name. ``worker_id`` is new in each process and each time the lease was
    lost. Called in the worker's event loop: ``lost`` when the lease was lost, ``raised`` when the shard count was
    raised, ``reached`` when the database accepts a heartbeat over a new connection, ``met`` when the workers that
    listen are others than before, and ``paused`` when the workflows that are paused are. ``is_listening`` returns
    whether this one listens. For ``overdue`` see ``LoopWatch``."""

    def __init__(
        self,
        database: Database,
        offers: Mapping[str, Offer],
        shard_count: int,
        *,
        lease: float,
        max_strikes: int,
        lost: Callable[[], None],
        raised: Callable[[int], None],
        reached: Callable[[], None],
        overdue: Callable[[], int | None],
        met: Callable[[Sequence[ListeningWorker]], None],
        paused: Callable[[frozenset[str]], None],
        is_listening: Callable[[], bool],
        sequels: Sequels,
        telling: Telling | None = None,
    ) -> None:
        self.worker_id = str(uuid4())
        self._next_id = str(uuid4())
        self._database = database
        self._offers = offers
        self.shard_count = shard_count
        self._lease = lease
        self._beat_seconds = min(_BEAT_SECONDS, lease / _BEATS_A_LEASE)
        self._patience = min(lease / _BEATS_A_LEASE, ANSWER_SECONDS)
        """Seconds that one attempt to be heard may take; this must leave time for another attempt."""
        self._lost = lost
        self._raised = raised
        self._reached = reached
        self._paused = paused
        self._paused_before: frozenset[str] = frozenset()
        self._is_listening = is_listening
        self._loop = asyncio.get_running_loop()
        self._watch = LoopWatch(lease, overdue)
        self._outages = Outages(database.outages.log, self._beat_seconds)
        self._fleet = Fleet(lambda workers: self._loop.call_soon_threadsafe(met, workers))
        self._last_beat = self._last_answer = float("-inf")
        self._lock_key = secrets.randbits(63)
        self._has_expired = False
        self._is_departure_due = False
        self._expiry: asyncio.TimerHandle | None = None
        self._registered = asyncio.Event()
        self._defect: asyncio.Future[None] = self._loop.create_future()
        self._others = Takeover(
            database,
            list(offers),
            lambda: self.shard_count,
            max_strikes=max_strikes,
            patience=max(lease / _BEATS_A_LEASE, _TAKEOVER_SECONDS),
            sequels=sequels,
            telling=telling,
        )
        self._own_loop = asyncio.SelectorEventLoop()  # the usual loop of Windows cannot carry psycopg's connections
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="durable-lease", daemon=True)

    async def start(self) -> None:
        """Returns once the worker is registered, however long the database takes. Raises whatever ended the thread."""
        self._thread.start()
        registering = asyncio.create_task(self._registered.wait())
        defect = asyncio.create_task(self.hold())
        try:
            await asyncio.wait({registering, defect}, return_when=asyncio.FIRST_COMPLETED)
            if defect.done():
                await defect
        finally:
            registering.cancel()
            defect.cancel()

    async def hold(self) -> None:
        """Waits until cancelled. Raises whatever ended the thread if anything other than ``stop`` did, which is a
        defect."""
        await asyncio.shield(self._defect)

    @property
    def is_held(self) -> bool:
        """Returns whether the last heartbeat is younger than the lease, by this machine's own clock."""
        return time.monotonic() - self._last_beat < self._lease

    @property
    def is_in_touch(self) -> bool:
        """Returns whether the database has answered recently."""
        return time.monotonic() - self._last_answer < self._beat_seconds + ANSWER_SECONDS

    def announce_departure(self) -> None:
        """Announces with the next heartbeat that nothing more is claimed here, so that the other workers must handle
        the runs that wake."""
        self._is_departure_due = True

    def stop(self) -> None:
        """Gives the lease back. Returns when the thread has ended, which is at once if the database does not answer."""
        with suppress(RuntimeError):  # the thread's loop is closed: the thread has ended
            self._own_loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    # in the thread

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._own_loop) as runner:
                runner.run(self._live())
        except BaseException as error:
            self._loop.call_soon_threadsafe(self._ended_by, error)  # the error is raised there

    def _ended_by(self, defect: BaseException) -> None:
        self._lost()
        self._defect.set_exception(defect)

    async def _live(self) -> None:
        keeping = asyncio.create_task(self._keep_until_stopped())
        others = asyncio.create_task(self._others.run())
        watching = asyncio.create_task(self._watch_loop())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({keeping, others, watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for duty in done - {stopping}:
                await duty
            await asyncio.wait({keeping}, timeout=_FAREWELL_SECONDS if self.is_in_touch else _RECONNECT_SECONDS)
        finally:
            await cancel_and_wait([keeping, others, watching, stopping])

    async def _keep_until_stopped(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._connect_and_keep()
            except (psycopg.Error, OSError) as error:  # a TimeoutError is an OSError
                await self._until_next_try(error)

    async def _until_next_try(self, error: Exception) -> None:
        next_try = asyncio.Event()
        leave = self._outages.failed("heartbeat", error, next_try.set)
        waiting = [asyncio.create_task(event.wait()) for event in (next_try, self._stopping)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leave()
            for task in waiting:
                task.cancel()

    async def _connect_and_keep(self) -> None:
        connection = await self._database.connect(self._patience)
        self._last_answer = time.monotonic()
        try:
            await self._keep(connection)
        finally:
            await connection.close()

    async def _keep(self, connection: EngineConnection) -> None:
        await self._lock(connection)
        if not self._registered.is_set():
            if self._stopping.is_set():
                return
            await self._register(connection, self.worker_id)
            self._hear_paused(paused_names(await connection.answer(list_pauses())))
            self._loop.call_soon_threadsafe(self._registered.set)
        is_new = True
        while not self._stopping.is_set():
            heard = await self._beat(connection)
            if is_new:  # not before: a database that has become read-only takes connections and refuses heartbeats
                is_new = False
                self._loop.call_soon_threadsafe(self._reached)
                self._others.hurry()
            if self._is_departure_due:
                self._is_departure_due = False
                await connection.answer(announce_departure())
            self._hear_paused(heard.paused)
            self._others.suspect(heard.suspects)
            await self._fleet.look(connection, self._patience, {suspect.worker_id for suspect in heard.suspects})
            await self._pause(min(SECOND_LOOK_SECONDS, self._beat_seconds) if heard.suspects else self._beat_seconds)
        # Runs that a cancelled claim left behind continue at once, rather than later as orphans.
        self._others.give_up(self.worker_id)
        await self._others.given_up()

    def _hear_paused(self, workflows: frozenset[str]) -> None:
        if workflows != self._paused_before:
            self._paused_before = workflows
            self._loop.call_soon_threadsafe(self._paused, workflows)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    # the right to this worker's own runs

    async def _lock(self, connection: EngineConnection) -> None:
        if not self._database.is_pooled and not await connection.answer(hold_lock(self._lock_key)):
            # Held by a stranger who was waiting for it, or by the session before, whose end the server has not noticed.
            self._lock_key = secrets.randbits(63)
            await connection.answer(hold_lock(self._lock_key))

    def _held_key(self) -> int | None:
        return None if self._database.is_pooled else self._lock_key

    async def _register(self, connection: EngineConnection, worker_id: str) -> None:
        """Registering is the first heartbeat under that id."""
        sent = self._own_loop.time()
        statement = register_worker(
            worker_id,
            lock_key=self._held_key(),
            session_key=None if self._database.is_pooled else self._database.session_key,
            hostname=socket.gethostname(),
            process_id=os.getpid(),
            offers=self._offers,
            lease=self._lease,
        )
        await connection.answer(statement)
        self._renewed(sent)

    async def _beat(self, connection: EngineConnection) -> Heard:
        sent = self._own_loop.time()
        sign = beat(self.worker_id, self._held_key(), is_listening=self._is_listening())
        heard = await connection.answer(sign, self._patience)
        self._last_answer = sent
        if heard.is_known:
            self._renewed(sent)
        if not heard.is_known or self._has_expired:
            await self._take_new_identity(connection)
        elif heard.shard_count > self.shard_count:
            self.shard_count = heard.shard_count
            self._loop.call_soon_threadsafe(self._raised, heard.shard_count)
        return heard

    def _renewed(self, sent: float) -> None:
        self._last_beat = sent
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._own_loop.call_at(sent + self._lease, self._expire)

    def _expire(self) -> None:
        extra = {"worker_id": self.worker_id}
        _logger.error(
            "worker %s could not reach the database within its lease; abandoning its runs", self.worker_id, extra=extra
        )
        self._has_expired = True
        self._loop.call_soon_threadsafe(self._lost)

    async def _take_new_identity(self, connection: EngineConnection) -> None:
        extra = {"worker_id": self.worker_id}
        _logger.error("worker %s lost its lease; its runs belong to other workers now", self.worker_id, extra=extra)
        await self._register(connection, self._next_id)
        # The new id is used only now, because runs claimed under an id that the other workers do not know are orphans.
        # If the answer is lost, the same id is registered again: otherwise its row would look like another worker's,
        # one whose sessions are this worker's own.
        former, self.worker_id, self._next_id = self.worker_id, self._next_id, str(uuid4())
        self._has_expired = False
        self._loop.call_soon_threadsafe(self._lost)
        self._others.give_up(former)

    # the event loop

    async def _watch_loop(self) -> None:
        while True:
            self._watch.look()
            await asyncio.sleep(self._beat_seconds)
