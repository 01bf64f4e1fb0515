"""Looks after other workers: one that has lost its lock for good, or has sent no heartbeat for the length of its lease,
loses its runs.

This happens alongside the heartbeats, over a separate connection, so that no heartbeat waits behind the many round
trips of a takeover.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from itertools import chain

import psycopg

from durable.core.arguments import MAX_INTEGER
from durable.core.shards import shard_values
from durable.postgres.connection import EngineConnection
from durable.store.channels import announce_departure
from durable.store.sessions import end_sessions
from durable.store.statement import Batch
from durable.store.takeovers import MAX_COMPANIONS, TakenOver, orphan_owners, owned_runs, take_over
from durable.store.workers import Suspect, remove_worker
from durable.telemetry.telling import Telling
from durable.worker.database import Database
from durable.worker.outages import Outages
from durable.worker.sequels import Sequels

_logger = logging.getLogger("durable.worker")

SECOND_LOOK_SECONDS = 0.4
"""A lock found missing twice, this far apart, is gone for good; a reconnecting worker takes its lock back sooner."""
_MAX_PAUSE_SECONDS = 20.0
_ORPHANS_SECONDS = 20.0
_TAKEOVER_SECONDS = 10.0
_MAX_ASKED = 500
_MAX_TAKEN_OVER = 1000
"""Runs taken over at once: half as many after a try that took too long, and more again after one that did not."""


class Takeover:
    """``patience`` is how long one answer may take, in seconds."""

    def __init__(
        self,
        database: Database,
        workflows: Sequence[str],
        shard_count: Callable[[], int],
        *,
        max_strikes: int,
        patience: float,
        sequels: Sequels,
        telling: Telling | None = None,
    ) -> None:
        self._database = database
        self._workflows = list(workflows)
        self._sequels = sequels
        self._telling = telling
        self._shard_count = shard_count
        self._max_strikes = max_strikes
        self._patience = min(patience, _TAKEOVER_SECONDS)
        self._outages = Outages(database.outages.log)
        self._batch = _MAX_TAKEN_OVER
        self._suspects: Sequence[Suspect] = ()
        self._former: list[str] = []
        self._has_work = asyncio.Event()
        self._has_given_up = asyncio.Event()
        self._sightings: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self._named: set[str] = set()
        self._next_orphans = time.monotonic() + random.uniform(0, _ORPHANS_SECONDS)

    def suspect(self, suspects: Sequence[Suspect]) -> None:
        """Called after each heartbeat with the workers that are suspect now. One that stays suspect for long enough
        loses its runs."""
        now = time.monotonic()
        self._suspects = suspects
        self._sightings = {suspect.worker_id: self._sightings.get(suspect.worker_id, now) for suspect in suspects}
        self._pauses = {worker_id: pause for worker_id, pause in self._pauses.items() if worker_id in self._sightings}
        self._named &= self._sightings.keys()
        self._has_work.set()

    def hurry(self) -> None:
        """Tries again at once what failed, because the database answers again."""
        self._outages.are_over()

    def give_up(self, worker_id: str) -> None:
        """Frees the runs left under an id that this worker had before; not as orphans, and without a strike."""
        self._former.append(worker_id)
        self._has_given_up.clear()
        self._has_work.set()

    async def given_up(self) -> None:
        """Waits until everything passed to ``give_up`` is free."""
        await self._has_given_up.wait()

    async def run(self) -> None:
        """Takes over from suspects and adopts orphans until cancelled."""
        while True:
            try:
                await self._connect_and_look()
            except Exception as error:
                self._suspects = ()  # they may have recovered by now; the next heartbeat will tell
                self._has_work.set()
                await self._outages.pause("takeover", error)

    async def _connect_and_look(self) -> None:
        connection = await self._database.connect(self._patience)
        try:
            while True:
                await self._has_work.wait()
                self._has_work.clear()
                await self._look(connection)
                self._outages.succeeded("takeover")
        finally:
            await connection.close()

    async def _look(self, connection: EngineConnection) -> None:
        while self._former:
            await self._free_runs(connection, self._former[0], self._workflows, is_death=False)
            del self._former[0]
        self._has_given_up.set()
        for suspect in self._suspects:
            await self._suspect(connection, suspect)
        now = time.monotonic()
        if now >= self._next_orphans:
            self._next_orphans = now + _ORPHANS_SECONDS
            await self._adopt_orphans(connection)

    async def _free_runs(
        self, connection: EngineConnection, worker_id: str, workflows: Sequence[str], *, is_death: bool
    ) -> bool:
        """Frees the runs of a worker and removes the worker. Returns whether some runs are left, because a transaction
        that it began has locked them or because their node is down; the worker then stays registered, and suspect."""
        are_left = False
        owned = await self._owned(connection, worker_id, workflows)
        companions = list(chain.from_iterable(owned.values()))[:MAX_COMPANIONS]
        for shard_value in owned:
            try:
                are_left |= await self._take_over(
                    connection, shard_value, worker_id, companions=companions, is_death=is_death
                )
            except psycopg.Error as error:
                if connection.is_closed:
                    raise
                self._outages.log.failed(f"takeover of the runs of {shard_value}", error)  # its node may be down
                are_left = True
        if not are_left:
            await connection.answer(remove_worker(worker_id))
        await connection.answer(announce_departure())
        return are_left

    async def _owned(
        self, connection: EngineConnection, worker_id: str, workflows: Sequence[str]
    ) -> dict[str, list[str]]:
        """Returns the shard values on which that worker owns runs, and the keys of some of them."""
        asked = [shard for workflow in workflows for shard in shard_values(workflow, self._shard_count())]
        owned: dict[str, list[str]] = {}
        for first in range(0, len(asked), _MAX_ASKED):
            shards = asked[first : first + _MAX_ASKED]
            asking = Batch([owned_runs(shard, worker_id) for shard in shards])
            answers = await connection.answer(asking, self._patience)
            owned.update({shard: run_keys for shard, run_keys in zip(shards, answers, strict=True) if run_keys})
        return owned

    async def _suspect(self, connection: EngineConnection, suspect: Suspect) -> None:
        seen = self._sightings.get(suspect.worker_id)
        if seen is None or suspect.worker_id in self._former:
            return  # it has shown life while others were being looked after, or it was this worker itself
        now = time.monotonic()
        pause = self._pauses.get(suspect.worker_id, 0.0 if suspect.is_stale else SECOND_LOOK_SECONDS)
        if now - seen >= pause and await self._bury(connection, suspect):
            self._sightings[suspect.worker_id] = now
            self._pauses[suspect.worker_id] = min(2 * pause + SECOND_LOOK_SECONDS, _MAX_PAUSE_SECONDS)

    async def _bury(self, connection: EngineConnection, dead: Suspect) -> bool:
        extra = {"worker_id": dead.worker_id}
        if dead.worker_id not in self._named:  # the takeover of a dead worker may fail many times over
            self._named.add(dead.worker_id)
            _logger.warning("worker %s is dead; taking over its runs", dead.worker_id, extra=extra)
        if dead.session_key not in (None, self._database.session_key):
            try:
                await connection.answer(end_sessions(dead.session_key))
            except psycopg.errors.InsufficientPrivilege as error:
                message = "could not end the sessions of worker %s: %s"
                self._outages.log.say(logging.WARNING, message, dead.worker_id, error, **extra)
        return await self._free_runs(connection, dead.worker_id, dead.workflows, is_death=True)

    async def _adopt_orphans(self, connection: EngineConnection) -> None:
        """Frees runs whose owner is registered nowhere: nobody saw it die, so nothing is held against its runs."""
        for workflow in self._workflows:
            for shard_value in shard_values(workflow, self._shard_count()):
                for owner in await connection.answer(orphan_owners(shard_value)):
                    await self._take_over(connection, shard_value, owner, companions=(), is_death=False)

    async def _take_over(
        self,
        connection: EngineConnection,
        shard_value: str,
        owner: str,
        *,
        companions: Sequence[str],
        is_death: bool,
    ) -> bool:
        """Takes over the runs of ``owner`` on that shard value. Returns whether runs are left that could not be
        taken."""
        extra = {"worker_id": owner, "shard_value": shard_value}
        while True:
            batch = self._batch
            taken = await self._take_over_batch(
                connection, shard_value, owner, companions=companions, is_death=is_death
            )
            for run_id in taken.failed:
                _logger.error("run %s:%s failed: CrashLoop", shard_value, run_id, extra=extra)
            if taken.suspects:
                message = "%d runs of %s have lost several workers in a row and will be tried apart from others"
                _logger.warning(message, len(taken.suspects), shard_value, extra=extra)
            if taken.queued:
                level = logging.WARNING if is_death else logging.INFO
                _logger.log(level, "%d runs of %s are free again", len(taken.queued), shard_value, extra=extra)
            if taken.count < batch:
                return taken.are_left

    async def _take_over_batch(
        self,
        connection: EngineConnection,
        shard_value: str,
        owner: str,
        *,
        companions: Sequence[str],
        is_death: bool,
    ) -> TakenOver:
        before, self._batch = self._batch, max(1, self._batch // 2)  # for the next try, in case this one is cut off
        # Without its workflow, it is not known what follows a run that fails: the worker that claims it next fails it.
        is_known = self._sequels.knows(shard_value.rpartition("_")[0])
        taking = take_over(
            shard_value,
            owner,
            before,
            max_strikes=self._max_strikes if is_known else MAX_INTEGER,
            companions=companions,
            is_death=is_death,
            sequel_of=self._sequels.after_failure(shard_value),
        )
        taken = await connection.answer(taking, self._patience)
        if self._telling is not None and taken.count:
            self._telling.taken_over(shard_value, taken)
        self._batch = min(before + before // 8 + 1, _MAX_TAKEN_OVER) if taken.count == before else before
        return taken
