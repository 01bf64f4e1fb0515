"""The plan of each statement that a worker repeats: one index, whatever the statistics say."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
import pytest

from durable.admin.migration import migrate
from durable.core.replay.endings import NextChapter, Park, Settle
from durable.core.runs import RunKey
from durable.store.claims import claim_runs, claim_suspects, end_trial, load, next_wake
from durable.store.flush import flush
from durable.store.operation import Operation, Running
from durable.store.records import (
    AbandonedWait,
    AnsweredWait,
    CancelMemo,
    ChildMemo,
    DroppedTimer,
    Entry,
    MetRequest,
    OpenedWait,
    OrderedStep,
    PatchMemo,
    Record,
    ReplyMemo,
    StepMemo,
    UnwantedChild,
)
from durable.store.routing import dismiss_orphans, lock_retries, reschedule, retry_runs, route_events, unrouted_events
from durable.store.statement import Batch, RunId, Statement
from durable.store.successors import succeed
from durable.worker.database import PLANS

WORKER = str(uuid.uuid4())
RUN_IDS = [str(uuid.UUID(int=number)) for number in range(1, 101)]
MEMO = StepMemo("step", "execute", 1, "fn", 1, 0.0, None, "1", None)

_HISTORY = """
    INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input, status, output, completed_at)
    SELECT 's_0', gen_random_uuid(), 's', 'null', 'completed', 'null', now() FROM generate_series(1, 10000);
    INSERT INTO durable.steps (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at, output)
    SELECT 's_0', run_id, 'step', 'execute', 'completed', 1, 'fn', now(), 'null' FROM durable.runs;
    INSERT INTO durable.waits (workflow_name_shard, run_id, wait_key, wait_type, wake_at, seq, satisfied_at)
    SELECT 's_0', run_id, 'nap', 'sleep', now(), 2, now() FROM durable.runs;
    INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload, routed_at)
    SELECT 's_0', run_id, gen_random_uuid(), 'news', 'null', now() FROM durable.runs
"""

_BY_KEY = {"runs_pkey", "steps_pkey", "waits_pkey", "events_pkey", "events_unrouted", "chapters_pkey"}
_OF_CLAIMS = _BY_KEY | {"runs_queued", "runs_asleep"}


def _flush() -> list[Statement[Any]]:
    entries: list[Entry] = [
        MEMO,
        PatchMemo("patch", "true"),
        CancelMemo(4, "request", "null"),
        ChildMemo("child", 5, RunKey("s_0", str(uuid.uuid4())), "s", 1, "null"),
        OrderedStep("other", 2),
        OpenedWait("wait", event_name="news"),
        OpenedWait("asked", event_name="order", is_request=True),
        ReplyMemo("ask:reply", 5, "order", str(uuid.UUID(int=3)), "1", is_refused=False),
        AnsweredWait("open", 3, False, str(uuid.UUID(int=1)), "1"),
        AbandonedWait("left"),
        DroppedTimer("asyncio:timer:1"),
        MetRequest(str(uuid.UUID(int=2))),
        UnwantedChild(RunKey("s_0", RUN_IDS[0])),
    ]
    parent = RunKey("s_0", RUN_IDS[0])
    records = [Record(run_id, 1, parent, list(entries), is_keyed=True, is_cancelled=True) for run_id in RUN_IDS]
    for number, record in enumerate(records):
        match number % 5:
            case 0:
                record.ending = Settle(status="completed", output="1")
            case 1:
                record.ending = Park()
            case 2:
                record.ending = Settle(status="queued", is_retry=True)
            case 3:
                record.ending = NextChapter(status="queued", input="1", version=1, timeout=None)
            case _:
                record.wants_inbox = True
    return _asked(flush("s_0", WORKER, records, is_repeat=True, is_leaving=False))


def _asked(operation: Operation[Any]) -> list[Statement[Any]]:
    """What it asks for where every run is the worker's."""
    asked: list[Statement[Any]] = []
    running = Running(operation)
    while running.request is not None:
        assert isinstance(running.request, Batch)
        asked += running.request.statements
        running.answer(
            [
                [(run_id,) for run_id in RUN_IDS] if statement.query.row is RunId else []
                for statement in running.request.asked
            ]
        )
    return asked


def _statements() -> Iterable[tuple[Statement[Any], set[str]]]:
    of_claims: list[Statement[Any]] = [
        claim_runs("s_0", WORKER, 500),
        claim_suspects("s_0", WORKER, 8, "group"),
        next_wake("s_0", RUN_IDS[:1]),
        route_events("s_0", WORKER, 1000),
        unrouted_events("s_0", WORKER),
        lock_retries("s_0", 1000),
        dismiss_orphans("s_0", 1000),
    ]
    of_keys = [*_asked(succeed("s_0", 500, lock_seconds=0.1)), *_asked(reschedule("s_0", 1000))]
    ended = end_trial(RunKey("s_0", RUN_IDS[0]), 1)
    yield from ((statement, _BY_KEY | {"events_key"}) for statement in of_keys)
    by_key = [ended, *_flush(), *load("s_0", RUN_IDS[:50], RUN_IDS[50:])]
    yield retry_runs("s_0", RUN_IDS), _BY_KEY | {"runs_key"}
    yield from ((statement, _OF_CLAIMS) for statement in of_claims)
    yield from ((statement, _BY_KEY) for statement in by_key)


def _plan(connection: psycopg.Connection[Any], statement: Statement[Any]) -> str:
    names: dict[str, str] = {}
    sql = re.sub(
        r"%\((\w+)\)s", lambda found: names.setdefault(found[1], f"${len(names) + 1}"), statement.query.text("durable")
    )
    connection.execute(f"PREPARE planned AS {sql.replace('%%', '%')}".encode())
    values = [statement.params[name] for name in names]
    execution = f"EXPLAIN EXECUTE planned ({', '.join(['%s'] * len(values))})".encode()
    with psycopg.ClientCursor(connection) as cursor:
        rows = cursor.execute(execution, values).fetchall()
    connection.execute("DEALLOCATE planned")
    return "\n".join(row[0] for row in rows)


def _never_analyzed(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(_HISTORY)


def _analyzed_while_written(database: str) -> None:
    """As autovacuum may: it finds the pages of rows that are not committed yet, and takes the tables for empty."""
    with psycopg.connect(database) as writer, psycopg.connect(database, autocommit=True) as connection:
        writer.execute(_HISTORY)
        connection.execute("ANALYZE")


def _analyzed(database: str) -> None:
    _never_analyzed(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ANALYZE")


@pytest.mark.parametrize("write_history", [_never_analyzed, _analyzed_while_written, _analyzed])
def test_every_statement_of_a_worker_goes_by_its_index(database: str, write_history: Callable[[str], None]) -> None:
    """However few of a shard value's rows it is about; else each would cost more the longer the history is."""
    migrate(database)
    write_history(database)
    with psycopg.connect(database, autocommit=True) as connection:
        if write_history is _analyzed_while_written and connection.info.server_version < 170000:
            pytest.skip("before Postgres 17 an order in the index outweighs a list of keys, where tables seem empty")
        connection.execute(PLANS)
        met: set[str] = set()
        for statement, allowed in _statements():
            plan = _plan(connection, statement)
            assert "Seq Scan" not in plan, plan
            assert plan.count("Nested Loop") == statement.query.text("durable").count("CROSS JOIN"), plan
            used = set(re.findall(r"(?:Index|Index Only|Bitmap Index) Scan (?:Backward )?(?:using|on) (\w+)", plan))
            assert used <= allowed, plan
            met |= used
            for condition in re.findall(r"using (?:runs|steps|waits|events)_pkey .*\n\s+Index Cond: (.*)", plan):
                assert "run_id" in condition, plan
        assert met >= _OF_CLAIMS


def test_citus_plans_anew_since_it_has_to_know_the_shard_value(bare_database: str) -> None:
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute(PLANS)
        assert connection.execute("SHOW plan_cache_mode").fetchone() == ("force_generic_plan",)
        connection.execute("SET allow_system_table_mods = on")
        connection.execute(
            "INSERT INTO pg_catalog.pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)"
            " SELECT 1, 'citus', extowner, extnamespace, extrelocatable, extversion FROM pg_catalog.pg_extension"
        )
        connection.execute(PLANS)
        assert connection.execute("SHOW plan_cache_mode").fetchone() == ("force_custom_plan",)
