"""Runs of few keys, begun in transactions that stay open, while workers route, claim and end them bit by bit.

One thread drives all connections, so each example is one order of events. What would wait for somebody else's lock
gives up instead, as if it had come later.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import psycopg
from hypothesis import strategies as st

from durable import BeginOptions, Client, Context, RunExists, RunKey, RunNotFound, RunNotRetryable, workflow
from durable.core.replay.endings import Settle
from durable.postgres.drive import run
from durable.store.claims import claim_runs
from durable.store.events import load_events
from durable.store.flush import flush
from durable.store.operation import Operation, Running
from durable.store.records import AnsweredWait, ClaimedRun, Entry, MetRequest, OpenedWait, Record
from durable.store.statement import Begin, Commit, Compute
from durable.store.successors import SuccessorsRefused, succeed
from durable.worker.visit import EndsBlocked, visit

SHARD = "job_0"
TABLES = ("events", "waits", "steps", "runs")
KEYS = ("a", "a", "b")
CLIENTS = 2
LOCK_SECONDS = 0.01
MAX_ROUNDS = 60
OPTIONS: tuple[BeginOptions, ...] = (
    {},
    {"if_active": "refuse", "if_ended": "begin_anew"},
    {"if_active": "cancel", "if_ended": "begin_anew"},
    {"if_active": "terminate"},
    {"if_ended": "begin_anew"},
    {"if_active": "cancel", "if_ended": "begin_anew", "event": ("note", None)},
    {"if_ended": "begin_anew", "event": ("note", None)},
    {"if_ended": "begin_anew", "event": ("note", None)},
)
ERROR = '{"type":"E","message":"m"}'
_GAVE_WAY = (psycopg.errors.LockNotAvailable, EndsBlocked, SuccessorsRefused)

Moves: TypeAlias = Sequence[tuple[int, int]]
"""What happens next, and a number that says with which run, key or option."""


@workflow
async def job(ctx: Context, name: str) -> str:
    return name


def moves() -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, 11), st.integers(0, 47)), min_size=12, max_size=60)


class Actor:
    """A connection that goes through an operation request by request."""

    def __init__(self, dsn: str) -> None:
        self.connection = connect(dsn, autocommit=True)
        self._running: Running[Any] | None = None
        self._is_open = False

    @property
    def is_busy(self) -> bool:
        return self._running is not None

    def start(self, operation: Operation[Any]) -> None:
        self._running = Running(operation)

    def step(self) -> None:
        assert self._running is not None
        request = self._running.request
        if request is None:
            self._running = None
            return
        assert not isinstance(request, Compute)
        if isinstance(request, (Begin, Commit)) and not self._is_open:
            self.connection.execute("BEGIN")
            self._is_open = True
        try:
            answers = [self._rows(asked) for asked in request.statements]
            if isinstance(request, Commit):
                self.connection.execute("COMMIT")
                self._is_open = False
                answers += [self._rows(asked) for asked in request.then]
        except psycopg.Error as error:
            self.connection.execute("ROLLBACK")
            self._is_open = False
            running, self._running = self._running, None
            with suppress(*_GAVE_WAY):
                running.fail(error)
            return
        self._running.answer(answers)

    def finish(self) -> None:
        while self.is_busy:
            self.step()

    def _rows(self, asked: Any) -> Any:
        cursor = self.connection.execute(asked.query.text("durable"), asked.params)
        return cursor.fetchall() if cursor.description else []


class Table:
    """The players at it: clients with open transactions, and workers."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.client = Client(dsn, notify=False)
        self.appliers = [connect(dsn) for _ in range(CLIENTS)]
        self.actors = [Actor(dsn) for _ in range(2)]
        self.engine = Actor(dsn)
        self.worker_id = str(uuid.uuid4())
        self.executing: list[ClaimedRun] = []
        self.pending: list[list[tuple[RunKey, str | None]]] = [[] for _ in range(CLIENTS)]
        self.begun: list[tuple[RunKey, str | None]] = []
        self._count = 0

    def close(self) -> None:
        """Leaves the tables empty."""
        for connection in (*self.appliers, *(actor.connection for actor in self.actors)):
            connection.close()
        self.engine.connection.close()
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute("; ".join(f"DELETE FROM durable.{name}" for name in TABLES).encode())
        self.client.close()

    def move(self, what: int, which: int) -> None:
        doings: tuple[Callable[[int], None], ...] = (
            self.begin, self.begin_and_commit, self.begin_and_commit, self.commit, self.start_routing, self.route,
            self.start_succeeding, self.succeed, self.step, self.claim, self.end, self.retry,
        )  # fmt: skip
        doings[what](which)
        self.check()

    def begin(self, which: int) -> None:
        applier, which = which % CLIENTS, which // CLIENTS
        key, option = KEYS[which % len(KEYS)], OPTIONS[which // len(KEYS) % len(OPTIONS)]
        options = option.copy()
        options["key"] = key
        self._count += 1
        text = None
        if "event" in options:
            text = str(self._count)
            options["event"] = ("note", text)
        connection = self.appliers[applier]
        connection.execute("SELECT 1")
        with suppress(psycopg.errors.LockNotAvailable, RunExists), connection.transaction():
            run_key = self.client.begin_tx(connection, job, str(self._count), **options)
            if self._count % 7 == 0:
                raise psycopg.Rollback
            self.pending[applier].append((run_key, text))

    def commit(self, which: int) -> None:
        applier = which % CLIENTS
        if which % 5 == 0:
            self.appliers[applier].rollback()
            self.pending[applier] = []
        else:
            self._commit(applier)

    def _commit(self, applier: int) -> None:
        self.appliers[applier].commit()
        self.begun += self.pending[applier]
        self.pending[applier] = []

    def begin_and_commit(self, which: int) -> None:
        self.begin(which)
        self._commit(which % CLIENTS)

    def start_routing(self, which: int) -> None:
        self._start(which, self._visit)

    def start_succeeding(self, which: int) -> None:
        self._start(which, lambda: succeed(SHARD, 100, lock_seconds=LOCK_SECONDS))

    def route(self, which: int) -> None:
        self.start_routing(which)
        self.actors[which % 2].finish()

    def succeed(self, which: int) -> None:
        self.start_succeeding(which)
        self.actors[which % 2].finish()

    def step(self, which: int) -> None:
        actor = self.actors[which % 2]
        if actor.is_busy:
            actor.step()

    def claim(self, which: int) -> None:
        self.executing += run(self.engine.connection, "durable", claim_runs(SHARD, self.worker_id, 1))

    def end(self, which: int) -> None:
        if self.executing:
            self._end(self.executing[which % len(self.executing)], "failed" if which % 2 == 0 else "completed")

    def retry(self, which: int) -> None:
        connection = self.engine.connection
        with suppress(RunNotFound, RunNotRetryable), connection.transaction():
            self.client.retry_run_tx(connection, (job, KEYS[which % len(KEYS)]))

    def check(self) -> None:
        query = """
            SELECT key, count(*) FROM durable.runs
            WHERE status NOT IN ('completed', 'failed', 'cancelled') AND follows IS NULL
            GROUP BY key HAVING count(*) > 1"""
        assert self._ask(query) == [], "two runs of a key may execute at once"

    def play_out(self) -> None:
        """Everything that was begun ends, and nobody begins more."""
        for applier in range(CLIENTS):
            self._commit(applier)
        for actor in self.actors:
            actor.finish()
        for _ in range(MAX_ROUNDS):
            for operation in (self._visit(), succeed(SHARD, 100, lock_seconds=LOCK_SECONDS), self._visit()):
                self.engine.start(operation)
                self.engine.finish()
            self.check()
            self.claim(0)
            for claimed in list(self.executing):
                self._end(claimed, "completed")
            self.check()
            if not self._ask("SELECT 1 FROM durable.events WHERE kind = 'next' AND consumed_by IS NULL LIMIT 1") and (
                not self._ask("SELECT 1 FROM durable.runs WHERE completed_at IS NULL LIMIT 1")
            ):
                break
        assert self._ask("SELECT run_id, status, follows FROM durable.runs WHERE completed_at IS NULL") == []
        stored = dict(self._ask("SELECT run_id::text, completed_at FROM durable.runs"))
        assert {run_key.run_id for run_key, _ in self.begun} <= stored.keys(), "a begin that was committed is lost"
        gaps = "SELECT key FROM durable.runs GROUP BY key HAVING max(coalesce(generation, 0)) <> count(*) - 1"
        assert self._ask(gaps) == [], "a generation is missing"
        read = {text for (text,) in self._ask("SELECT payload #>> '{}' FROM durable.events WHERE consumed_by = 'read'")}
        assert {text for _, text in self.begun if text is not None} <= read, "no run has read an event"

    def _start(self, which: int, operation: Callable[[], Operation[Any]]) -> None:
        actor = self.actors[which % 2]
        if actor.is_busy:
            actor.finish()
        actor.start(operation())

    def _visit(self) -> Operation[Any]:
        return visit(
            SHARD,
            self.worker_id,
            is_routing=True,
            routing_limit=100,
            left_out=(),
            limit=0,
            left_to_others=(),
            hold=lambda claimed: False,
        )

    def _end(self, claimed: ClaimedRun, status: Any) -> None:
        inbox = run(self.engine.connection, "durable", load_events(SHARD, [claimed.run_id]))
        entries: list[Entry] = [MetRequest(event.event_id) for event in inbox if event.kind in ("cancel", "terminate")]
        notes = [event for event in inbox if event.kind == "event"]
        if entries:
            status = "cancelled"
        elif notes:
            entries = [OpenedWait("read", event_name="note")]
            entries.append(AnsweredWait("read", 1, False, notes[0].event_id, notes[0].payload))
        output = "null" if status == "completed" else None
        ending = Settle(status=status, output=output, error=None if output else ERROR)
        record = Record(
            claimed.run_id, claimed.epoch, entries=entries, is_keyed=claimed.is_keyed, is_cancelled=False, ending=ending
        )
        self.engine.start(flush(SHARD, self.worker_id, [record], is_repeat=False, is_leaving=False))
        self.engine.finish()
        ended = self._ask("SELECT completed_at IS NOT NULL FROM durable.runs WHERE run_id = %s", claimed.run_id)
        if ended == [(True,)]:  # else somebody has locked it, and it ends later
            self.executing.remove(claimed)

    def _ask(self, query: str, *params: Any) -> list[Any]:
        cursor = self.engine.connection.execute(query.encode(), params)
        return cursor.fetchall() if cursor.description else []


def connect(dsn: str, *, autocommit: bool = False) -> psycopg.Connection[Any]:
    milliseconds = round(LOCK_SECONDS * 1000)
    return psycopg.connect(dsn, autocommit=autocommit, options=f"-c lock_timeout={milliseconds}")


def a_key_has_one_run_at_a_time_and_loses_nothing(dsn: str, moves: Moves) -> None:
    """At most one run of a key may execute; each begin that was committed has a run that ends, and each event that came
    with one is read by some run."""
    table = Table(dsn)
    try:
        for what, which in moves:
            table.move(what, which)
        table.play_out()
    finally:
        table.close()
