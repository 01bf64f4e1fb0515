"""Group commit: what runs record is written together, in one transaction per flush and shard value."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import psycopg

from durable.core.errors import SerializationError
from durable.core.failures import error_info
from durable.core.replay.endings import Settle
from durable.postgres.outages import is_outage
from durable.store.flush import flush
from durable.store.records import Record, Written
from durable.worker.callbacks import Callbacks
from durable.worker.database import Database
from durable.worker.tasks import cancel_and_wait

_logger = logging.getLogger("durable.worker")

_MAX_RECORDS = 1000
"""Records in one flush. This bounds the locks it holds and its latency."""
_FEW_RECORDS = 64
_FLUSHES_AT_ONCE = 2
"""The second flush starts once as many records are waiting as the first one has: the runs that one flush has written
continue here while the database writes the other. With everything in one flush, the worker and the database would take
turns waiting; with many small flushes, the fixed cost of each would weigh more."""
_RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)


class Recorder(Protocol):
    """A run that has something to write."""

    def take_record(self) -> Record:
        """Returns what has gathered since the last call."""
        ...

    def flushed(self, written: Written) -> None:
        """Called from the event loop once the record is durable, or was refused."""
        ...


class Journal:
    """Has one lane for each shard value: while one flush is under way, the next one gathers. There are no timers when
    idle."""

    def __init__(self, database: Database, callbacks: Callbacks, worker_id: Callable[[], str]) -> None:
        self._database = database
        self._callbacks = callbacks
        self._worker_id = worker_id
        self.is_leaving = False
        """Whether the other workers must be notified of runs that are left to wake later, because this worker is
        stopping."""
        self._lanes: dict[str, _Lane] = {}

    def mark(self, shard_value: str, recorder: Recorder) -> None:
        """Has the recorder's record written with the next flush."""
        lane = self._lanes.get(shard_value)
        if lane is None:
            lane = self._lanes[shard_value] = _Lane(self, self._database, self._callbacks, shard_value, self._worker_id)
        lane.mark(recorder)

    async def drain(self) -> None:
        """Returns once nothing is left to write."""
        while busy := [task for lane in self._lanes.values() for task in lane.tasks]:
            await asyncio.wait(busy)

    async def close(self) -> None:
        """Abandons what cannot be written; its runs continue on other workers."""
        await cancel_and_wait([task for lane in self._lanes.values() for task in lane.tasks])


class _Lane:
    def __init__(
        self,
        journal: Journal,
        database: Database,
        callbacks: Callbacks,
        shard_value: str,
        worker_id: Callable[[], str],
    ) -> None:
        self._journal = journal
        self._database = database
        self._callbacks = callbacks
        self._shard_value = shard_value
        self._worker_id = worker_id
        self._waiting: list[Recorder] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self._size = 0

    def mark(self, recorder: Recorder) -> None:
        self._waiting.append(recorder)
        if not self.tasks or (len(self.tasks) < _FLUSHES_AT_ONCE and self._are_many):
            loop = asyncio.get_running_loop()
            self.tasks.add(loop.create_task(self._flush_all(), name=f"flush {self._shard_value}"))

    @property
    def _are_many(self) -> bool:
        return len(self._waiting) >= max(self._size, _FEW_RECORDS)

    async def _flush_all(self) -> None:
        try:
            while self._waiting and (len(self.tasks) == 1 or self._are_many):
                recorders, self._waiting = self._waiting[:_MAX_RECORDS], self._waiting[_MAX_RECORDS:]
                self._size = len(recorders)
                records = [recorder.take_record() for recorder in recorders]
                for recorder, written in zip(recorders, await self._write(records), strict=True):
                    self._callbacks.soon(recorder.flushed, written)
        finally:
            # Not in a callback of the task: what is marked before it is called would wait for a flush that has ended.
            self.tasks -= {asyncio.current_task()}

    async def _write(
        self, records: Sequence[Record], *, is_verdict: bool = False, is_repeat: bool = False
    ) -> list[Written]:
        failures = 0
        while True:
            try:
                return await self._attempt(records, is_repeat=is_repeat or failures > 0)
            except (psycopg.Error, OSError, SerializationError) as error:
                if not is_outage(error):
                    if is_verdict:
                        return [Written(is_ours=False)]
                    return await self._isolate(records, error, is_repeat=is_repeat or failures > 0)
                delay = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
                failures += 1
                _logger.warning("flush of %s failed, retrying in %g s: %s", self._shard_value, delay, error)
                await asyncio.sleep(delay)

    async def _attempt(self, records: Sequence[Record], *, is_repeat: bool) -> list[Written]:
        async with self._database.engine() as connection:
            return await connection.run(
                flush(
                    self._shard_value,
                    self._worker_id(),
                    records,
                    is_repeat=is_repeat,
                    is_leaving=self._journal.is_leaving,
                )
            )

    async def _isolate(self, records: Sequence[Record], error: Exception, *, is_repeat: bool) -> list[Written]:
        """Writes a batch that one record spoils: each half separately, down to the culprit, whose run fails with the
        reason."""
        if len(records) > 1:
            middle = len(records) // 2
            halves = (records[:middle], records[middle:])
            return [written for half in halves for written in await self._write(half, is_repeat=is_repeat)]
        (record,) = records
        run_key = f"{self._shard_value}:{record.run_id}"
        # Without the details that Postgres adds, because they repeat the row, payloads included.
        reason = error.diag.message_primary if isinstance(error, psycopg.Error) else error
        _logger.error("run %s cannot record what it did: %s", run_key, reason, extra={"run_key": run_key})
        ending = Settle(status="failed", error=error_info(error).text)
        verdict = Record(record.run_id, record.epoch, record.parent, ending=ending)
        await self._write([verdict], is_verdict=True, is_repeat=is_repeat)
        return [Written(is_ours=False, is_refused=True)]
