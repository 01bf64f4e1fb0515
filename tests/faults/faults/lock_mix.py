"""Everything that an application can do, at random, in long transactions side by side."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeAlias, get_args

import msgspec
import psycopg

from durable import DurableError, Every, RunKey
from durable.core.schedules.timetable import Overlap
from tests.faults.model import JUDGES, Facts, completed
from tests.faults.stage import Stage, fault
from tests.faults.workloads.mixing import TIMED_OUT, Mixed, mixed, tolling

_SESSIONS = 16
_SCHEDULES = [f"toll {index}" for index in range(8)]
_LONGEST_SECONDS = 0.3
_RECENT = 60
_FIRST_NUMBER = 10_000_000
"""Beyond those of the load."""
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"

Transaction: TypeAlias = psycopg.AsyncConnection[tuple[object, ...]]


def _judge(facts: Facts) -> str | None:
    if facts.status == "cancelled":
        return None

    def expected(facts: Facts) -> list[str]:
        wait = facts.waits["told"]
        return [facts.memo("before"), TIMED_OUT if wait.payload is None else msgspec.json.decode(wait.payload)]

    return completed(expected, list[str])(facts)


JUDGES["mixed"] = _judge


class Shared:
    """What the sessions know of each other. ``done``: how often each operation was committed."""

    def __init__(self) -> None:
        self.numbers = itertools.count(_FIRST_NUMBER)
        self.run_keys: deque[RunKey] = deque(maxlen=_RECENT)
        self.done: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.is_over = False


class Session:
    """One connection of an application. A transaction names one schedule: in what order two, is its own affair."""

    def __init__(self, stage: Stage, shared: Shared) -> None:
        self._load = stage.load
        self._client = stage.load.client
        self._random = Random(stage.random.getrandbits(64))
        self._shared = shared
        self._begun: list[tuple[int, RunKey]] = []
        self._schedule_id = ""

    async def work(self, conninfo: str) -> None:
        """Transactions, one after the other, until the sessions are to end."""
        connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True, application_name="mix")
        async with connection:
            while not self._shared.is_over:
                await self._transact(connection)

    async def _transact(self, connection: Transaction) -> None:
        self._begun.clear()
        self._schedule_id = self._random.choice(_SCHEDULES)
        names = self._random.choices(list(_OPERATIONS), k=self._random.choice((1, 1, 2, 4)))
        is_to_commit = self._random.random() < 0.85
        try:
            async with connection.transaction(force_rollback=not is_to_commit):
                for name in names:
                    await self._operate(connection, name)
                    if len(names) > 1:
                        await asyncio.sleep(self._random.uniform(0.0, _LONGEST_SECONDS))
        except psycopg.Error as error:
            self._shared.errors[f"{error.sqlstate} {type(error).__name__}"] += 1
            is_to_commit = False
        for number, run_key in self._begun:
            if is_to_commit:
                self._load.confirm(number, mixed, run_key)
                self._shared.run_keys.append(run_key)
            else:
                self._load.rolled_back.add(number)
        self._shared.done.update(names)

    async def _operate(self, tx: Transaction, name: str) -> None:
        try:
            await _OPERATIONS[name](self, tx)
        except DurableError as error:
            self._shared.errors[type(error).__name__] += 1  # there is no such run or schedule, or it has ended

    def _some_run(self) -> RunKey:
        if not self._shared.run_keys:
            return RunKey("mixed_0", "01920000-0000-7000-8000-000000000000")
        return self._random.choice(self._shared.run_keys)

    async def _begin(self, tx: Transaction) -> None:
        number = next(self._shared.numbers)
        self._begun.append((number, await self._client.begin_tx(tx, mixed, Mixed(number))))

    async def _publish(self, tx: Transaction) -> None:
        await self._client.publish_event_tx(tx, self._some_run(), "news", "told")

    async def _cancel(self, tx: Transaction) -> None:
        await self._client.cancel_run_tx(tx, self._some_run())

    async def _terminate(self, tx: Transaction) -> None:
        await self._client.terminate_run_tx(tx, self._some_run())

    async def _retry(self, tx: Transaction) -> None:
        await self._client.retry_run_tx(tx, self._some_run())

    async def _look(self, tx: Transaction) -> None:
        await self._client.get_run_info_tx(tx, self._some_run())

    async def _list(self, _: Transaction) -> None:
        await self._client.list_runs(limit=20)

    async def _schedule(self, tx: Transaction) -> None:
        overlap = self._random.choice(get_args(Overlap))
        every = Every(self._random.uniform(0.3, 5.0))
        await self._client.schedule_tx(tx, tolling, None, self._schedule_id, every, overlap=overlap)

    async def _pause(self, tx: Transaction) -> None:
        await self._client.pause_schedule_tx(tx, self._schedule_id)

    async def _resume(self, tx: Transaction) -> None:
        await self._client.resume_schedule_tx(tx, self._schedule_id)

    async def _delete(self, tx: Transaction) -> None:
        await self._client.delete_schedule_tx(tx, self._schedule_id)

    async def _trigger(self, tx: Transaction) -> None:
        await self._client.trigger_schedule_tx(tx, self._schedule_id)

    async def _backfill(self, tx: Transaction) -> None:
        end = datetime.now(UTC)
        await self._client.backfill_schedule_tx(tx, self._schedule_id, end - timedelta(seconds=3), end)

    async def _list_schedules(self, tx: Transaction) -> None:
        await self._client.list_schedules_tx(tx)


_OPERATIONS: dict[str, Callable[[Session, Transaction], Awaitable[None]]] = {
    "begin": Session._begin,
    "publish": Session._publish,
    "cancel": Session._cancel,
    "terminate": Session._terminate,
    "retry": Session._retry,
    "status": Session._look,
    "list": Session._list,
    "schedule": Session._schedule,
    "pause": Session._pause,
    "resume": Session._resume,
    "delete": Session._delete,
    "trigger": Session._trigger,
    "backfill": Session._backfill,
    "list schedules": Session._list_schedules,
}


@fault(
    row=13,
    how=f"all operations of a client at random, {_SESSIONS} sessions with long transactions, deadlock_timeout=100ms",
    target="0 deadlocks, 0 errors other than typed ones",
    sizes={"smoke": 400, "campaign": 15_000, "soak": 500_000},
    workers=3,
    options={"workflows": "tests.faults.workloads.mixing:MIXED_WORKFLOWS"},
    server_settings={"deadlock_timeout": "100ms", "log_lock_waits": "on"},
)
async def lock_mix(stage: Stage) -> None:
    shared = Shared()
    sessions = [asyncio.create_task(Session(stage, shared).work(stage.options.direct)) for _ in range(_SESSIONS)]
    while shared.done.total() < stage.size and not any(session.done() for session in sessions):
        await asyncio.sleep(0.05)
    shared.is_over = True
    for outcome in await asyncio.gather(*sessions, return_exceptions=True):
        if outcome is not None:
            stage.violated("I13", f"a session broke off: {outcome!r}")
    for schedule_id in _SCHEDULES:
        await stage.observer.rows("DELETE FROM durable.schedules WHERE schedule_id = %s", (schedule_id,))
    stage.injected(shared.done.total())
    (deadlocks,) = (await stage.observer.rows(_DEADLOCKS))[0]
    waits = stage.server.log.read_text(errors="replace").count(" still waiting for ")
    stage.noted(f"{waits} waits for a lock of more than 100 ms, {deadlocks} deadlocks")
    if deadlocks:
        stage.violated("I3", f"{deadlocks} deadlocks")
    for error, count in shared.errors.items():
        if error[0].isdigit():
            stage.violated("I3", f"{error} {count} times")
    if missing := _OPERATIONS.keys() - shared.done.keys():
        stage.violated("I13", f"never done: {', '.join(sorted(missing))}")
