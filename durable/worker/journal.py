"""Group commit: what runs record is written together, in one transaction per flush and shard value."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import psycopg

from durable.core.errors import SerializationError
from durable.core.failures import ErrorInfo, storable
from durable.core.replay.endings import Settle
from durable.postgres.outages import is_blocked, is_outage, reason_of
from durable.store.flush import flush
from durable.store.records import Record, Written
from durable.store.sequels import Sequel
from durable.telemetry.telling import Telling
from durable.worker.blocked_records import Blocked
from durable.worker.callbacks import Callbacks
from durable.worker.database import Database
from durable.worker.tasks import cancel_and_wait

_logger = logging.getLogger("durable.worker")

_MAX_RECORDS = 1000
"""Records in one flush. This bounds the locks it holds and its latency."""
_MAX_NAMED = 5
_FEW_RECORDS = 64
_FLUSHES_AT_ONCE = 2
"""The second flush starts once as many records are waiting as the first one has: the runs that one flush has written
continue here while the database writes the other. With everything in one flush, the worker and the database would take
turns waiting; with many small flushes, the fixed cost of each would weigh more."""
_LOCK_SECONDS = 0.1
"""How long records that were blocked before wait for a lock. Nothing is lost if the time is too short."""
_REFUSALS = (psycopg.Error, SerializationError, UnicodeError)
"""What a record is to blame for that cannot be stored."""
_NOT_SET_UP = ("26", "28", "3D", "3F", "42")
_NOT_OURS = Written(is_ours=False)
_REFUSED = Written(is_ours=False, is_refused=True)


class Recorder(Protocol):
    """A run that has something to write."""

    def take_record(self) -> Record:
        """Returns what has gathered since the last call."""
        ...

    def sequel(self, ending: Settle) -> Sequel | None:
        """Returns the run that begins if this one ends like that."""
        ...

    def flushed(self, written: Written) -> None:
        """Called from the event loop once the record is durable, or was refused."""
        ...


class _Pending(NamedTuple):
    """A record on its way. ``is_verdict``: it fails a run that could not record what it did, and that has nothing more
    to say."""

    recorder: Recorder
    record: Record
    is_verdict: bool = False


class Journal:
    """Has one lane for each shard value: while one flush is under way, the next one gathers. There are no timers when
    idle."""

    def __init__(
        self,
        database: Database,
        callbacks: Callbacks,
        worker_id: Callable[[], str],
        telling: Telling | None = None,
    ) -> None:
        self.database = database
        self.callbacks = callbacks
        self.telling = telling
        self.worker_id = worker_id
        self.is_leaving = False
        """Whether the other workers must be notified of runs that are left to wake later, because this worker is
        stopping."""
        self.blocked = Blocked[_Pending]()
        self._lanes: dict[str, _Lane] = {}

    def mark(self, shard_value: str, recorder: Recorder) -> None:
        """Has the recorder's record written with the next flush."""
        lane = self._lanes.get(shard_value)
        if lane is None:
            lane = self._lanes[shard_value] = _Lane(self, shard_value)
        lane.mark(recorder)

    async def drain(self) -> None:
        """Returns once nothing is left to write."""
        while busy := self._tasks():
            await asyncio.wait(busy)

    async def close(self) -> None:
        """Abandons what cannot be written; its runs continue on other workers."""
        await cancel_and_wait(self._tasks())

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [*self.blocked.tasks, *(task for lane in self._lanes.values() for task in lane.tasks)]


class _Lane:
    def __init__(self, journal: Journal, shard_value: str) -> None:
        self._journal = journal
        self._shard_value = shard_value
        self._duty = f"flush of {shard_value}"
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
                await self._flush(recorders)
        finally:
            # Not in a callback of the task: what is marked before it is called would wait for a flush that has ended.
            self.tasks -= {asyncio.current_task()}

    async def _flush(self, recorders: Sequence[Recorder]) -> None:
        taken: list[_Pending] = []
        for recorder in recorders:
            try:
                taken.append(_Pending(recorder, recorder.take_record()))
            except Exception:
                _logger.exception("a run of %s cannot say what it has to write; releasing it", self._shard_value)
                self._journal.callbacks.soon(recorder.flushed, _NOT_OURS)
        if taken:
            await self._write(taken)

    async def _write(self, batch: Sequence[_Pending], *, is_repeat: bool = False) -> None:
        """Writes the records, or sees to it that they are written."""
        if not await self._try(batch, is_repeat=is_repeat):
            self._journal.database.outages.log.say(
                logging.WARNING,
                "records of %s wait for a lock that another transaction holds; the others continue",
                self._shard_value,
                shard_value=self._shard_value,
            )
            self._journal.blocked.add(self._write_blocked, batch)

    async def _write_blocked(self, batch: Sequence[_Pending]) -> bool:
        # As if they had been written before, because that may have been so when they came here.
        return await self._try(batch, is_repeat=True, lock_seconds=_LOCK_SECONDS)

    async def _try(
        self, batch: Sequence[_Pending], *, is_repeat: bool = False, lock_seconds: float | None = None
    ) -> bool:
        """Writes the records and tells the recorders. Returns whether that is done; otherwise a record is blocked, and
        nothing is written."""
        failures = 0
        telling = self._journal.telling
        while True:
            began = 0.0 if telling is None else time.monotonic()
            try:
                written = await self._attempt(
                    [pending.record for pending in batch],
                    is_repeat=is_repeat or failures > 0,
                    lock_seconds=lock_seconds,
                )
            except Exception as error:
                if is_blocked(error):
                    return False
                if not _is_to_be_waited_out(error):
                    await self._isolate(batch, error, is_repeat=is_repeat or failures > 0)
                    return True
                failures += 1
                await self._journal.database.outages.pause(self._duty, error)
            else:
                self._journal.database.outages.succeeded(self._duty)
                if telling is not None:
                    records = [pending.record for pending in batch]
                    telling.flushed(self._shard_value, records, written, time.monotonic() - began)
                for pending, answer in zip(batch, written, strict=True):
                    self._answer(pending, _REFUSED if pending.is_verdict else answer)
                return True

    def _answer(self, pending: _Pending, written: Written) -> None:
        self._journal.callbacks.soon(pending.recorder.flushed, written)

    async def _attempt(
        self, records: Sequence[Record], *, is_repeat: bool, lock_seconds: float | None
    ) -> list[Written]:
        async with self._journal.database.engine() as connection:
            return await connection.run(
                flush(
                    self._shard_value,
                    self._journal.worker_id(),
                    records,
                    is_repeat=is_repeat,
                    is_leaving=self._journal.is_leaving,
                    lock_seconds=lock_seconds,
                )
            )

    async def _isolate(self, batch: Sequence[_Pending], error: Exception, *, is_repeat: bool) -> None:
        """Writes a batch that one record spoils: each half separately, down to the culprit. If the record cannot be
        stored, its run fails with the reason; if what went wrong is a defect, its run is released instead, and fails
        only if that keeps happening."""
        if len(batch) > 1:
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                await self._write(half, is_repeat=is_repeat)
            return
        (pending,) = batch
        record = pending.record
        run_key = f"{self._shard_value}:{record.run_id}"
        extra = {"run_key": run_key}
        if pending.is_verdict:
            _logger.error("the failure of run %s cannot be recorded: %s", run_key, _reason(error), extra=extra)
            self._answer(pending, _REFUSED)
            return
        if not isinstance(error, _REFUSALS):
            _logger.error(
                "unexpected error while writing what run %s did; releasing it", run_key, exc_info=error, extra=extra
            )
            self._answer(pending, _REFUSED)
            return
        shown = _reason(error)
        _logger.error("run %s cannot record what it did: %s", run_key, shown, extra=extra)
        kind = SerializationError if isinstance(error, UnicodeError) else type(error)
        ending = Settle(status="failed", error=ErrorInfo(kind.__name__, storable(shown)).text)
        sequel = pending.recorder.sequel(ending)
        verdict = Record(
            record.run_id, record.epoch, record.parent, is_keyed=record.is_keyed, ending=ending, sequel=sequel
        )
        await self._write([pending._replace(record=verdict, is_verdict=True)], is_repeat=is_repeat)


def _is_to_be_waited_out(error: Exception) -> bool:
    """Returns whether no record is to blame: the database is away, or the worker lacks a right, a table, a column."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return is_outage(error) or (state is not None and state[:2] in _NOT_SET_UP)


def _reason(error: Exception) -> str:
    """Returns what is wrong, without the details that repeat the row, payloads included."""
    if isinstance(error, UnicodeEncodeError):
        culprits = ", ".join(
            f"U+{ord(character):04X}" for character in error.object[error.start : error.end][:_MAX_NAMED]
        )
        return f"contains {culprits}, which cannot be sent in the encoding of the connection ({error.encoding})"
    if isinstance(error, UnicodeError):
        return "contains a text that cannot be sent in the encoding of the connection"
    return reason_of(error)
