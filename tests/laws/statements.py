"""That statements do what is written of them in ``tables``: both are given the same rows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
from hypothesis import strategies as st

from durable.core.failures import ErrorInfo
from durable.core.replay.endings import NextChapter, Settle
from durable.core.replay.history import ELAPSED, UNDO, Failure, History, Kind, Memo, Outcome, TimedOut, Value
from durable.postgres import pipeline
from durable.postgres.drive import run
from durable.store import claims
from durable.store.flush import flush
from durable.store.records import AnsweredWait, Comeback, OpenedWait, PatchMemo, Record, StepMemo, Written
from durable.store.routing import RetriedRun, forget_failed_steps
from durable.store.statement import Batch
from tests.laws.programs import EPOCH
from tests.laws.tables import RUN_ID, Tables, moment_at

_SHARD = "program_0"
_WORKER = "01940000-0000-7000-8000-000000000001"
_EVENTS = [f"01940000-0000-7000-8000-00000000000{number}" for number in (2, 3, 4)]
_STEPS = ("execute", "failed", "undone", "badly undone", "patched")
_WAITS = ("sleep", "timer", "timeout", "event", "late")

Kinds = list[tuple[str, bool]]
"""What a run has seen, in order, and whether its error names it."""


def timers() -> st.SearchStrategy[list[tuple[int, int]]]:
    """Timers in the order of their numbers: when each was due, and when it was written, in seconds before now."""
    return st.lists(st.tuples(st.integers(1, 3), st.integers(4, 6)), min_size=2, max_size=12)


def kinds() -> st.SearchStrategy[Kinds]:
    return st.lists(st.tuples(st.sampled_from((*_STEPS, *_WAITS)), st.booleans()), min_size=1, max_size=8)


def waits_come_back_in_the_order_of_their_times(dsn: str, timers: list[tuple[int, int]]) -> None:
    """For a run that is replayed, and for one whose machine is resident."""
    tables = Tables(None)
    with psycopg.connect(dsn, autocommit=True) as connection:
        _insert_run(connection, error=None)
        numbered = list(enumerate(timers, 1))
        for number, (due, written) in sorted(numbered, key=lambda one: (one[1], -one[0])):
            key = f"asyncio:timer:{number}"
            connection.execute(
                "INSERT INTO durable.waits (workflow_name_shard, run_id, wait_key, wait_type, wake_at, created_at)"
                " VALUES (%s, %s, %s, 'timer', %s, %s)",
                (_SHARD, RUN_ID, key, EPOCH - timedelta(seconds=due), EPOCH - timedelta(seconds=written)),
            )
            tables._open(OpenedWait(key, until=EPOCH - timedelta(seconds=due), is_timer=True), -float(written))
        replayed, resident = _comeback(connection), _comeback(connection, is_resident=True)
        _empty(connection)
    assert replayed.wake.due == resident.wake.due == tables.wake(0.0).due
    assert replayed.history is not None
    assert replayed.history.open_waits == tables.history().open_waits


def a_retry_keeps_and_forgets_the_same(dsn: str, kinds: Kinds) -> None:
    tables = Tables(None)
    named = [f"call {seq}" for seq, (_, is_named) in enumerate(kinds, 1) if is_named]
    _remember(tables, kinds)
    with psycopg.connect(dsn, autocommit=True) as connection:
        _insert_run(connection, error={"type": "ValueError", "message": "no", "waits": named})
        for memo in tables.memos.values():
            _insert(connection, memo)
        run(connection, "durable", forget_failed_steps(_SHARD, [RetriedRun(RUN_ID, 1, was_set_aside=False)]))
        history = _comeback(connection).history
        _empty(connection)
    tables._forget_failed(named)
    assert history is not None
    kept = {memo.key: (memo.seq, memo.carried) for memo in history.memos}
    assert kept == {memo.key: (memo.seq, memo.carried) for memo in tables.memos.values()}


def a_chapter_ends_the_same(dsn: str, kinds: Kinds) -> None:
    """Nothing of it is left but what was sent to the run and not read, and nothing of it can be written any more."""
    tables = Tables(None)
    _remember(tables, kinds)
    tables.status, tables.epoch = "running", 1
    tables._open(OpenedWait("open", wake_in=60.0), 0.0)
    tables.publish("news")
    tables.publish("news")
    record = Record(RUN_ID, 1, None, [AnsweredWait("took", len(kinds) + 2, False, _EVENTS[0], "1")])
    record.ending = NextChapter(status="queued", input='"next"', version=2, timeout=None)
    with psycopg.connect(dsn, autocommit=True) as connection:
        _empty(connection)
        _insert_run(connection, error=None)
        connection.execute(
            "UPDATE durable.runs SET status = 'running', worker_id = %s, attempts = 1, strikes = 1,"
            " memos_at_takeover = 9",
            (_WORKER,),
        )
        for memo in tables.memos.values():
            _insert(connection, memo)
        for key in ("open", "took"):
            connection.execute(
                "INSERT INTO durable.waits (workflow_name_shard, run_id, wait_key, wait_type, event_name)"
                " VALUES (%s, %s, %s, 'event', 'news')",
                (_SHARD, RUN_ID, key),
            )
        for event_id, kind in zip(_EVENTS, ("event", "event", "child"), strict=True):
            connection.execute(
                "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload, routed_at)"
                " VALUES (%s, %s, %s, %s, 'news', '1', now())",
                (_SHARD, RUN_ID, event_id, kind),
            )
        assert asyncio.run(_flushed(dsn, record)).is_ours
        late = Record(RUN_ID, 1, None, [StepMemo("late", "execute", 99, "do", 1, 0.0, None, "1", None)])
        late.ending = Settle(status="completed", output="1")
        assert not asyncio.run(_flushed(dsn, late)).is_ours
        comeback = _comeback(connection)
        (row,) = connection.execute(
            "SELECT status, epoch, chapter, attempts, strikes, memos_at_takeover, input::text, version"
            " FROM durable.runs"
        ).fetchall()
        (ended,) = connection.execute("SELECT chapter, memos, input::text, version FROM durable.chapters").fetchall()
        memos = len(tables.memos) + 1
        tables._begin_chapter(record)
        _empty(connection)
    assert comeback.history == tables.history() == History()
    assert [event.event_id for event in comeback.wake.inbox] == [_EVENTS[1]]
    assert row == ("queued", tables.epoch, tables.chapter, 0, 0, 0, '"next"', 2)
    assert ended == (1, memos, "null", 1)


def a_decision_is_recorded_the_same(dsn: str, decided: list[bool]) -> None:
    """Of a place where the code was changed. What is decided first stays."""
    tables = Tables(None)
    tables.status, tables.epoch = "running", 1
    with psycopg.connect(dsn, autocommit=True) as connection:
        _empty(connection)
        _insert_run(connection, error=None)
        connection.execute("UPDATE durable.runs SET status = 'running', worker_id = %s", (_WORKER,))
        for number, is_patched in enumerate(decided):
            entry = PatchMemo(f"place {number}", "true" if is_patched else "false")
            tables._enter(entry, 0.0)
            again = PatchMemo(entry.key, "true")  # by a repeated flush
            for one in (entry, again):
                assert asyncio.run(_flushed(dsn, Record(RUN_ID, 1, None, [one]))).is_ours
        history = _comeback(connection).history
        _empty(connection)
    assert history is not None
    recorded = {memo.key: (memo.kind, memo.seq, memo.carried, memo.outcome) for memo in history.memos}
    assert recorded == {memo.key: (memo.kind, memo.seq, memo.carried, memo.outcome) for memo in tables.memos.values()}


async def _flushed(dsn: str, record: Record) -> Written:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        (written,) = await pipeline.run(
            connection, "durable", flush(_SHARD, _WORKER, [record], is_repeat=False, is_leaving=False)
        )
    return written


def _remember(tables: Tables, kinds: Kinds) -> None:
    undone: list[tuple[str, str]] = []
    for seq, (kind, _) in enumerate(kinds, 1):
        memo = _memo(f"call {seq}", kind, seq)
        tables.memos[memo.key] = memo
        if kind in ("undone", "badly undone"):
            undone.append((memo.key, kind))
    for seq, (key, kind) in enumerate(reversed(undone), len(kinds) + 1):
        outcome = Value("1") if kind == "undone" else Failure(ErrorInfo("ValueError", "no"))
        tables.memos[key + UNDO] = Memo(key + UNDO, "undo", "do", seq, False, outcome, moment_at(seq))


def _memo(key: str, kind: str, seq: int) -> Memo:
    outcomes: dict[str, tuple[Kind, Outcome]] = {
        "execute": ("execute", Value("1")),
        "undone": ("execute", Value("1")),
        "badly undone": ("execute", Value("1")),
        "patched": ("patched", Value("true")),
        "failed": ("execute", Failure(ErrorInfo("ValueError", "no"))),
        "sleep": ("sleep", ELAPSED),
        "timer": ("timer", ELAPSED),
        "timeout": ("timer", TimedOut()),
        "event": ("event", Value("1")),
        "late": ("event", TimedOut()),
    }
    recorded, outcome = outcomes[kind]
    name = {"event": "news", "execute": "do"}.get(recorded, "")
    is_carried = recorded == "patched"
    return Memo(key, recorded, name, None if is_carried else seq, is_carried, outcome, moment_at(seq))


def _insert_run(connection: psycopg.Connection[Any], error: dict[str, Any] | None) -> None:
    connection.execute(
        "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input, status, epoch, error)"
        " VALUES (%s, %s, 'program', 'null', 'queued', 1, %s)",
        (_SHARD, RUN_ID, error and msgspec.json.encode(error).decode()),
    )


def _insert(connection: psycopg.Connection[Any], memo: Memo) -> None:
    place = (_SHARD, RUN_ID, memo.key, memo.kind, memo.seq)
    if memo.kind in ("execute", "undo", "patched"):
        is_failed = isinstance(memo.outcome, Failure)
        connection.execute(
            "INSERT INTO durable.steps (workflow_name_shard, run_id, step_key, kind, seq, carried, status, fn,"
            " started_at, output, error) VALUES (%s, %s, %s, %s, %s, %s, %s, 'do', now(), %s, %s)",
            (
                *place,
                memo.carried,
                "failed" if is_failed else "completed",
                None if is_failed else "1",
                '{"type": "ValueError", "message": "no"}' if is_failed else None,
            ),
        )
        return
    is_late = isinstance(memo.outcome, TimedOut)
    has_event = memo.kind == "event" and not is_late
    connection.execute(
        "INSERT INTO durable.waits (workflow_name_shard, run_id, wait_key, wait_type, seq, timed_out, satisfied_at,"
        " wake_at, event_name, event_id, payload) VALUES (%s, %s, %s, %s, %s, %s, now(), now(), %s, %s, %s)",
        (*place, is_late, memo.name or None, RUN_ID if has_event else None, "1" if has_event else None),
    )


def _comeback(connection: psycopg.Connection[Any], *, is_resident: bool = False) -> Comeback:
    replayed, resident = ([], [RUN_ID]) if is_resident else ([RUN_ID], [])
    found = run(connection, "durable", Batch(claims.load(_SHARD, replayed, resident)))
    return claims.comebacks(replayed, resident, found)[RUN_ID]


def _empty(connection: psycopg.Connection[Any]) -> None:
    for table in ("steps", "waits", "events", "chapters", "runs"):
        connection.execute(f"DELETE FROM durable.{table}".encode())
