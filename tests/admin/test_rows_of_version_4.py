"""What workers wrote until version 4 of the schema: children and cancels without columns of their own."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest

from durable import AsyncClient, Context, RunFailed, Worker, workflow
from durable.admin import prune
from durable.admin.migration import migrate
from durable.core.replay.history import History, Memo, OpenWait, Value
from durable.core.runs import RunKey
from durable.postgres.drive import run
from durable.store import claims
from durable.store.migrations import migrations
from durable.store.records import Comeback
from durable.store.statement import Batch
from tests.client.colours import rows
from tests.watching import reached

SOME_ID = "01920000-0000-4000-8000-000000000000"
LATER = [migration.version for migration in migrations() if migration.version > 4]
COMPLETED = '{"status":"completed","output":4}'
FAILED = '{"status":"failed","error":{"type":"Terminal","message":"not yet"}}'
CANCELLED = '{"status":"cancelled","error":{"type":"RunCancelled","message":"enough"}}'


@workflow
async def grow(ctx: Context, name: str) -> int:
    return len(name)


@workflow
async def tend(ctx: Context) -> list[int]:
    good = await ctx.run_child("good", grow, "good")
    bad = await ctx.start_child("bad", grow, "bad")
    return [good, await bad.result()]


@workflow
async def outlive(ctx: Context) -> int:
    handle = await ctx.start_child("one", grow, "one")
    try:
        return await handle.result()
    except asyncio.CancelledError:
        return await handle.result()


class Old:
    """Writes as version 4 did."""

    def __init__(self, database: str) -> None:
        self.database = database

    def run(self, workflow_name: str, status: str, parent: RunKey | None = None, **columns: Any) -> RunKey:
        run_key = RunKey(f"{workflow_name}_0", str(uuid4()))
        self._insert(
            "runs",
            run_key,
            workflow_name=workflow_name,
            status=status,
            epoch=1,
            input="null",
            parent_shard=parent and parent.workflow_name_shard,
            parent_run_id=parent and parent.run_id,
            completed_at="now" if status in ("completed", "failed", "cancelled") else None,
            **columns,
        )
        return run_key

    def memo(self, run_key: RunKey, key: str, kind: str, fn: str, seq: int, output: str) -> None:
        self._insert(
            "steps",
            run_key,
            step_key=key,
            kind=kind,
            fn=fn,
            seq=seq,
            status="completed",
            output=output,
            started_at="now",
        )

    def wait(self, run_key: RunKey, key: str, child: RunKey, **answer: Any) -> None:
        columns = {"wait_key": key, "wait_type": "child_result", "event_name": child.run_id}
        self._insert("waits", run_key, **columns, **answer)

    def answered_wait(self, run_key: RunKey, key: str, child: RunKey, seq: int, end: str) -> None:
        self.wait(run_key, key, child, seq=seq, event_id=child.run_id, payload=end, satisfied_at="now")

    def end(self, run_key: RunKey, child_id: str, end: str, **columns: Any) -> None:
        self._insert("events", run_key, event_id=child_id, kind="child", name=child_id, payload=end, **columns)

    def _insert(self, table: str, run_key: RunKey, **columns: Any) -> None:
        given = {"workflow_name_shard": run_key.workflow_name_shard, "run_id": run_key.run_id, **columns}
        marks = ", ".join(["%s"] * len(given))
        rows(self.database, f"INSERT INTO durable.{table} ({', '.join(given)}) VALUES ({marks})", *given.values())


@pytest.fixture
def old(bare_database: str, monkeypatch: pytest.MonkeyPatch) -> Old:
    """A database at version 4."""
    with monkeypatch.context() as before:
        before.setattr("durable.admin.migration.migrations", lambda: migrations()[:4])
        assert migrate(bare_database) == [1, 2, 3, 4]
    return Old(bare_database)


def failed_parent(old: Old) -> tuple[RunKey, RunKey, RunKey]:
    """It began two children, of which the second failed; and they."""
    parent = old.run("tend", "failed", error='{"type":"RunFailed","message":"not yet"}')
    good = old.run("grow", "completed", parent, output="4")
    bad = old.run("grow", "failed", parent, error='{"type":"Terminal","message":"not yet"}')
    old.memo(parent, "good", "child", "grow", 1, f'"{good}"')
    old.answered_wait(parent, "good:result", good, 2, COMPLETED)
    old.end(parent, good.run_id, COMPLETED, routed_at="now", consumed_by="good:result")
    old.memo(parent, "bad", "child", "grow", 3, f'"{bad}"')
    old.answered_wait(parent, "bad:result", bad, 4, FAILED)
    old.end(parent, bad.run_id, FAILED, routed_at="now", consumed_by="bad:result")
    return parent, good, bad


def waiting_parent(old: Old) -> tuple[RunKey, RunKey]:
    """It is past its deadline and waits for its child, all the same; and the child."""
    child_id = str(uuid4())
    parent = old.run("outlive", "waiting_event", awaits=[], awaits_runs=[child_id])
    child = RunKey("grow_0", child_id)
    old.memo(parent, "one", "child", "grow", 1, f'"{child}"')
    old.memo(parent, "", "cancel", "deadline", 2, "null")
    old.wait(parent, "one:result", child)
    return parent, child


def comeback(database: str, run_key: RunKey, *, is_resident: bool = False) -> Comeback:
    replayed, resident = ([], [run_key.run_id]) if is_resident else ([run_key.run_id], [])
    with psycopg.connect(database) as connection:
        found = run(connection, "durable", Batch(claims.load(run_key.workflow_name_shard, replayed, resident)))
    return claims.comebacks(replayed, resident, found)[run_key.run_id]


def test_children_and_their_ends_get_their_columns(old: Old) -> None:
    parent, good, bad = failed_parent(old)
    other, child = waiting_parent(old)
    old.end(other, child.run_id, CANCELLED)

    assert migrate(old.database) == LATER

    found = rows(
        old.database,
        "SELECT run_id::text, step_key, child_shard, child_run_id::text, cancel_cause, fn FROM durable.steps",
    )
    assert sorted(found) == sorted(
        [
            (parent.run_id, "good", "grow_0", good.run_id, None, "grow"),
            (parent.run_id, "bad", "grow_0", bad.run_id, None, "grow"),
            (other.run_id, "one", "grow_0", child.run_id, None, "grow"),
            (other.run_id, "", None, None, None, "deadline"),
        ]
    )
    ends = rows(old.database, "SELECT event_id::text, child_status FROM durable.events")
    assert dict(ends) == {good.run_id: "completed", bad.run_id: "failed", child.run_id: "cancelled"}


def without_moments(history: History) -> list[Memo]:
    return [msgspec.structs.replace(memo, at=None) for memo in history.in_order()]


def test_old_waits_and_cancels_are_read_by_their_names(old: Old) -> None:
    parent, good, bad = failed_parent(old)
    other, child = waiting_parent(old)
    old.end(other, child.run_id, COMPLETED)

    migrate(old.database)

    history = comeback(old.database, parent).history
    assert history is not None
    assert without_moments(history) == [
        Memo("good", "child", "grow", 1, False, Value(f'"{good}"')),
        Memo("good:result", "child_result", good.run_id, 2, False, Value(COMPLETED)),
        Memo("bad", "child", "grow", 3, False, Value(f'"{bad}"')),
        Memo("bad:result", "child_result", bad.run_id, 4, False, Value(FAILED)),
    ]
    came = comeback(old.database, other)
    assert came.history is not None
    assert without_moments(came.history) == [
        Memo("one", "child", "grow", 1, False, Value(f'"{child}"')),
        Memo("", "cancel", "deadline", 2, False, Value("null")),
    ]
    assert came.history.open_waits == (OpenWait("one:result", "child_result", child.run_id),)
    assert [(event.kind, event.event_id, event.payload) for event in came.wake.inbox] == [
        ("child", child.run_id, COMPLETED)
    ]
    assert comeback(old.database, other, is_resident=True).wake == came.wake


@pytest.mark.parametrize("is_late", [False, True], ids=["written before", "written beside newer workers"])
async def test_a_retry_of_an_old_parent_begins_its_failed_child_again(old: Old, *, is_late: bool) -> None:
    if is_late:
        migrate(old.database)
    parent, good, bad = failed_parent(old)
    if not is_late:
        migrate(old.database)

    async with AsyncClient(old.database) as client, Worker(old.database, [tend, grow]):
        await client.retry_run(parent)
        await reached(client, parent, "completed")
        assert await client.handle(parent, tend).result(timeout=20) == [4, 3]

    children = rows(old.database, "SELECT run_id::text, status FROM durable.runs WHERE workflow_name = 'grow'")
    assert len(children) == 3
    assert {(good.run_id, "completed"), (bad.run_id, "failed")} < set(children)


def test_an_old_parent_is_not_pruned_before_its_child_has_ended(old: Old) -> None:
    migrate(old.database)
    child = RunKey("grow_0", str(uuid4()))
    parent = old.run("tend", "failed", error='{"type":"RunFailed","message":"not yet"}')
    old.memo(parent, "one", "child", "grow", 1, f'"{child}"')
    rows(
        old.database,
        "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input) VALUES (%s, %s, 'grow', 'null')",
        child.workflow_name_shard,
        child.run_id,
    )

    assert prune(old.database, older_than=0) == 0
    rows(
        old.database,
        "UPDATE durable.runs SET status = 'completed', output = '1', completed_at = now() - interval '1 s'",
    )
    assert prune(old.database, older_than=0) == 2


async def test_the_end_of_a_child_wakes_an_old_parent_that_ends_by_its_old_cancel(old: Old) -> None:
    parent, child = waiting_parent(old)
    old.end(parent, child.run_id, COMPLETED)
    migrate(old.database)

    async with AsyncClient(old.database) as client, Worker(old.database, [outlive]):
        with pytest.raises(RunFailed, match="it did not end before its deadline"):
            await client.handle(parent, outlive).result(timeout=20)
    assert rows(old.database, "SELECT consumed_by FROM durable.events") == [("one:result",)]


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "7",
        "[]",
        '"text"',
        '"\\u0000"',
        '"\\ud800"',
        '{"status":"asleep"}',
        '{"status":null}',
        '{"status":{}}',
        '{"status":"\\u0000"}',
        '{"a":"\\u0000","status":"failed"}',
        f'"grow_0:{"g" * 36}"',
        f'"\\u0000grow_0:{SOME_ID}"',
        f'"{SOME_ID}"',
    ],
)
def test_what_no_worker_has_written_stops_no_migration(old: Old, text: str) -> None:
    _, good, _ = failed_parent(old)
    stranger = old.run("tend", "queued")
    old.memo(stranger, "good", "child", "grow", 1, text)
    old.end(stranger, str(uuid4()), text)

    assert migrate(old.database) == LATER

    assert rows(old.database, "SELECT child_run_id FROM durable.steps WHERE run_id = %s", stranger.run_id) == [(None,)]
    assert (good.run_id,) in rows(old.database, "SELECT child_run_id::text FROM durable.steps")
