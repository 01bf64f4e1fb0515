"""Rows written by somebody who may write, and means no good: none of them is executed, and none takes a worker with it.

What is wrong with one run fails that run, with a reason, or sets it aside; its neighbours and their worker go on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from durable import AsyncClient, AsyncHandle, Context, RunFailed, Worker, workflow
from durable.admin.migration import migrate

DEEP = "[" * 3_000 + "]" * 3_000  # more than that Postgres itself refuses
PICKLED = json.dumps("gASVHgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAR0cnVllIWUUpQu")
VALUES = [
    "1e5000",
    "-1e5000",
    "9" * 5000,
    DEEP,
    '{"a": ' * 2000 + "1" + "}" * 2000,
    '"\\u0000"',
    '"\\ud800"',
    '{"\\u0000": "\\udfff"}',
    "null",
    '"text"',
    "[]",
    "{}",
    '{"__reduce__": ["os.system", ["true"]], "py/object": "os.system"}',
    PICKLED,
    '{"type": 5, "message": [], "traceback": {}}',
    '{"type": "builtins.SystemExit", "message": "1", "traceback": null}',
]
NUL = '{"a": "\\u0000"}'
SOME_ID = "01920000-0000-4000-8000-000000000000"
NAMES = [
    "os.system",
    "builtins:exec",
    "__import__('os')._exit(1)",
    "../../etc/passwd",
    "durable.cli:main",
    "",
    "\u202e",
    "x" * 9000,
]


async def body(value: int = 1) -> int:
    return value


@workflow
async def stepping(ctx: Context, number: int) -> int:
    first = await ctx.execute("first", body, number)
    await ctx.sleep("nap", 0.01)
    heard = await ctx.wait_for_event("wait", "news", int, timeout=0.1 if number else 60)
    return first + heard


@workflow
async def doubling(ctx: Context, number: int) -> int:
    return await ctx.execute("double", body, number) * 2


@asynccontextmanager
async def attacked(database: str) -> AsyncIterator[tuple[AsyncClient, psycopg.AsyncConnection[Any]]]:
    """With a worker that is looked at again at the end: it must go on, with its first identity, and do new work."""
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
        AsyncClient(database) as client,
        Worker(database, [stepping, doubling], poll_interval=0.05, max_poll_interval=0.2) as worker,
    ):
        first = worker.status().worker_id
        yield client, connection
        assert await (await client.begin(doubling, 21)).result(timeout=20) == 42
        assert worker.healthy()
        assert worker.status().worker_id == first


async def insert(connection: psycopg.AsyncConnection[Any], table: str, **columns: Any) -> None:
    names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
    await connection.execute(f"INSERT INTO durable.{table} ({names}) VALUES ({marks})".encode(), list(columns.values()))


async def new_run(connection: psycopg.AsyncConnection[Any], workflow_name: str, input: str, **columns: Any) -> str:
    run_id = str(uuid4())
    shard = f"{workflow_name}_0"
    await insert(
        connection,
        "runs",
        workflow_name_shard=shard,
        run_id=run_id,
        workflow_name=workflow_name,
        input=input,
        **columns,
    )
    return f"{shard}:{run_id}"


async def new_memo(connection: psycopg.AsyncConnection[Any], run_key: str, **columns: Any) -> None:
    shard, _, run_id = run_key.partition(":")
    usual = {
        "step_key": "double",
        "kind": "execute",
        "status": "completed",
        "seq": 1,
        "fn": "body",
        "started_at": "now",
    }
    await insert(connection, "steps", workflow_name_shard=shard, run_id=run_id, **{**usual, **columns})


async def ended(handle: AsyncHandle[Any]) -> Any:
    """Its status, once it has ended or was set aside."""
    async with asyncio.timeout(20):
        while True:
            status = await handle.info()
            is_aside = status.status == "sleeping" and status.error is not None
            if status.status in ("completed", "failed", "cancelled") or is_aside:
                return status
            await asyncio.sleep(0.02)


async def test_an_input_of_any_shape_sets_its_run_aside_alone(database: str) -> None:
    async with attacked(database) as (client, connection):
        for run_key in [await new_run(connection, "doubling", value) for value in VALUES]:
            status = await ended(client.handle(run_key))
            assert (status.status, status.error.type) == ("sleeping", "NondeterminismError")
            assert len(status.error.message) <= 8192


@pytest.mark.parametrize("column", ["output", "error"])
async def test_a_memo_of_any_shape_fails_its_run_or_sets_it_aside_alone(column: str, database: str) -> None:
    run_keys: list[str] = []
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for value in VALUES:
            run_keys.append(await new_run(connection, "doubling", "1", epoch=1))
            status = "completed" if column == "output" else "failed"
            await new_memo(connection, run_keys[-1], status=status, **{column: value})
    async with attacked(database) as (client, _):
        for run_key, value in zip(run_keys, VALUES, strict=True):
            found = await ended(client.handle(run_key))
            assert found.status == ("sleeping" if column == "output" else "failed"), value[:50]


async def test_a_memo_of_a_function_by_any_name_is_compared_and_never_called(database: str) -> None:
    run_keys: list[str] = []
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for name in NAMES:
            run_keys.append(await new_run(connection, "doubling", "1", epoch=1))
            await new_memo(connection, run_keys[-1], fn=name, output="1")
    async with attacked(database) as (client, _):
        for run_key in run_keys:
            status = await ended(client.handle(run_key))
            assert (status.status, status.error.type) == ("sleeping", "NondeterminismError")
            assert len(status.error.message) <= 8192


@pytest.mark.parametrize("seq", [2**31 - 1, 1, None])
@pytest.mark.parametrize("kind", ["random", "cancel", "now", "transaction", "child"])
async def test_a_memo_of_another_kind_or_place_fails_or_sets_aside_its_run(
    kind: str, seq: int | None, database: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        run_key = await new_run(connection, "doubling", "1", epoch=1)
        for step_key in ("double", "", "another"):
            await new_memo(connection, run_key, step_key=step_key, kind=kind, seq=seq, fn="os.system", output=NUL)
    async with attacked(database) as (client, _):
        assert (await ended(client.handle(run_key))).error is not None


@pytest.mark.parametrize("name", [name for name in NAMES if 0 < len(name) <= 200])
async def test_a_workflow_of_any_name_is_nobody_s(name: str, database: str) -> None:
    async with attacked(database) as (client, connection):
        run_key = await new_run(connection, name, "null")
        foreign = str(uuid4())
        await insert(
            connection, "runs", workflow_name_shard="doubling_0", run_id=foreign, workflow_name=name, input="1"
        )
        assert await (await client.begin(doubling, 1)).result(timeout=20) == 2
        assert (await client.get_run_info(run_key)).status == "queued"


@pytest.mark.parametrize("kind", ["event", "cancel", "terminate", "retry", "child"])
async def test_an_event_of_any_shape_harms_no_run_but_its_own(kind: str, database: str) -> None:
    async with attacked(database) as (client, connection):
        neighbour = await client.begin(stepping, 0)
        for value in VALUES:
            for handle in (await client.begin(stepping, 0), await client.begin(stepping, 0, delay=1000)):
                await insert(
                    connection,
                    "events",
                    workflow_name_shard="stepping_0",
                    run_id=handle.run_key.run_id,
                    event_id=str(uuid4()),
                    name="news",
                    kind=kind,
                    payload=value,
                    child_status="completed" if kind == "child" else None,
                )
        await neighbour.publish_event("news", 2)
        assert await neighbour.result(timeout=20) == 2


@pytest.mark.parametrize(
    "columns",
    [
        {"expression": "x" * 4_000},
        {"expression": "* * * * *", "timezone": "../../etc/passwd"},
        {"expression": "* * * * *", "timezone": "localtime"},
        {"expression": "@every 0.0000001s"},
        {"expression": "__import__('os').system('true')"},
        {"expression": "@every 1s", "last_run": f"no_such\n_7:{SOME_ID}", "overlap": "buffer_one"},
        {"expression": "@every 1s", "input": DEEP},
        {"expression": "@every 1s", "input": '"\\u0000"'},
        {"expression": "@every 1s", "version": -(2**31)},
        {"expression": "@every 1s", "starts_at": "9000-01-01", "ends_at": "2000-01-01"},
    ],
    ids=lambda columns: str(columns)[:60],
)
async def test_a_schedule_of_any_shape_stalls_no_other(columns: dict[str, Any], database: str) -> None:
    async with attacked(database) as (client, connection):
        await insert(connection, "schedules", schedule_id="a hostile one\x1b[2J", workflow_name="doubling", **columns)
        await client.schedule(doubling, 4, "a good one", "@every 50ms")
        async with asyncio.timeout(20):
            while True:
                (one,) = [one for one in await seen(connection) if one[0] == "a good one"]
                if one[1] is not None:
                    break
                await asyncio.sleep(0.02)


async def seen(connection: psycopg.AsyncConnection[Any]) -> list[Any]:
    return await (await connection.execute("SELECT schedule_id, last_run FROM durable.schedules")).fetchall()


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("runs", {"scheduled_at": "infinity"}),
        ("runs", {"scheduled_at": "20000-01-01"}),
        ("runs", {"deadline_at": "-infinity"}),
        ("runs", {"created_at": "0001-01-01 BC"}),
        ("runs", {"status": "completed", "completed_at": "now"}),
        ("runs", {"status": "sleeping"}),
        ("runs", {"status": "gone"}),
        ("runs", {"tags": "[]"}),
        ("runs", {"input": "[" * 20_000 + "]" * 20_000}),
        ("runs", {"status": "sleeping", "next_wake_at": "infinity"}),
        ("runs", {"started_at": "-infinity"}),
        ("runs", {"updated_at": "infinity"}),
        ("steps", {"started_at": "infinity"}),
        ("steps", {"completed_at": "-infinity"}),
        ("waits", {"wake_at": "infinity"}),
        ("waits", {"created_at": "20000-01-01"}),
        ("waits", {"satisfied_at": "infinity"}),
        ("events", {"created_at": "infinity"}),
        ("events", {"routed_at": "-infinity"}),
        ("schedules", {"created_at": "infinity"}),
        ("schedules", {"updated_at": "-infinity"}),
        ("schedules", {"expression": "x" * 1_000_000}),
        ("schedules", {"timezone": "x" * 1_000}),
        ("schedules", {"problem": "x" * 100_000}),
        ("schedules", {"last_run": f"doubling_99999:{SOME_ID}"}),
        ("schedules", {"last_run": "doubling"}),
        ("schedules", {"run_timeout": "Infinity"}),
        ("schedules", {"run_timeout": 1e300}),
        ("schedules", {"run_timeout": "NaN"}),
        ("schedules", {"jitter": "NaN"}),
        ("schedules", {"due_at": "infinity"}),
        ("workers", {"lease": "Infinity"}),
        ("workers", {"lease": "NaN"}),
        ("workers", {"lease": 1e300}),
        ("workers", {"lease": -1}),
        ("workers", {"heartbeat_at": "infinity"}),
        ("workers", {"started_at": "-infinity"}),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_row_that_none_could_read_is_refused(table: str, columns: dict[str, Any], database: str) -> None:
    usual: dict[str, dict[str, Any]] = {
        "runs": {"workflow_name_shard": "a_0", "run_id": SOME_ID, "workflow_name": "a", "input": "1"},
        "steps": {
            "workflow_name_shard": "a_0",
            "run_id": SOME_ID,
            "step_key": "a",
            "kind": "execute",
            "status": "completed",
            "fn": "a",
            "started_at": "now",
            "output": "1",
        },
        "waits": {
            "workflow_name_shard": "a_0",
            "run_id": SOME_ID,
            "wait_key": "a",
            "wait_type": "sleep",
            "wake_at": "now",
        },
        "events": {
            "workflow_name_shard": "a_0",
            "run_id": SOME_ID,
            "event_id": SOME_ID,
            "name": "a",
            "payload": "1",
        },
        "schedules": {"schedule_id": "one", "workflow_name": "a", "expression": "@every 1s"},
        "workers": {"worker_id": SOME_ID, "hostname": "a", "process_id": 1, "workflows": ["a"], "lease": 1},
    }
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        with pytest.raises((psycopg.errors.CheckViolation, psycopg.errors.StatementTooComplex)):
            await insert(connection, table, **{**usual[table], **columns})
        await insert(connection, table, **usual[table])


@pytest.mark.parametrize(
    "columns",
    [
        {"lease": 3155760000},
        {"workflows": [""]},
        {"workflows": ["os.system", "doubling", "x" * 9000]},
        {"lock_key": None},
        {"heartbeat_at": "0003-01-01"},
        {"heartbeat_at": "9999-01-01"},
    ],
    ids=lambda columns: str(columns)[:60],
)
async def test_a_worker_of_any_shape_keeps_no_other_from_taking_over(columns: dict[str, Any], database: str) -> None:
    usual = {"hostname": "\x1b[2J", "process_id": -1, "workflows": ["doubling"], "lease": 60, "lock_key": 7}
    async with attacked(database) as (client, connection):
        await insert(connection, "workers", worker_id=str(uuid4()), **{**usual, **columns})
        dead = str(uuid4())
        await insert(connection, "workers", worker_id=dead, **usual)
        lost = await new_run(connection, "doubling", "3", status="running", worker_id=dead, epoch=2**62)
        assert await client.handle(lost, doubling).result(timeout=20) == 6


async def test_tags_and_errors_of_any_shape_hide_no_other_run(database: str) -> None:
    async with attacked(database) as (client, connection):
        await new_run(connection, "nobody_s", "1", tags='{"a": [1, {"b": null}], "c": "d"}')
        failed = [
            await new_run(connection, "nobody_s", "1", status="failed", completed_at="now", error=value)
            for value in VALUES
        ]
        assert {len(run.tags) for run in await client.list_runs()} == {0, 2}
        good = asyncio.create_task((await client.begin(doubling, 4)).result(timeout=20))
        others = [asyncio.create_task(client.handle(run_key).result(timeout=20)) for run_key in failed]
        assert await good == 8
        for outcome in await asyncio.gather(*others, return_exceptions=True):
            assert isinstance(outcome, RunFailed)
        for run_key in failed:
            assert (await client.get_run_info(run_key)).error is not None


@pytest.mark.parametrize(
    "notice",
    ["run:", "run:doubling_99999999999999999999", "first:", "first:x", "first::doubling_0", "event:\x1b[2J", "\x00"]
    + ["x" * 7000, ":::", "schedule"],
)
async def test_a_notice_of_any_shape_is_a_hint_at_most(notice: str, database: str) -> None:
    from durable.store.channels import done_channel, work_channel

    async with attacked(database) as (client, connection):
        pending = asyncio.create_task((await client.begin(stepping, 1)).result(timeout=20))
        for channel in (work_channel("durable"), done_channel("durable")):
            await connection.execute("SELECT pg_notify(%s, %s)", (channel, notice.replace("\x00", "")))
        await asyncio.gather(pending, return_exceptions=True)


@pytest.fixture
def unchecked(bare_database: str) -> str:
    """A database whose owner has dropped the checks on moments."""
    migrate(bare_database)
    with psycopg.connect(bare_database, autocommit=True) as connection:
        for table, name in connection.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint"
            " WHERE contype = 'c' AND pg_get_constraintdef(oid) LIKE '%9999-06-01%'"
        ).fetchall():
            connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())
    return bare_database


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "20000-01-01 00:00Z", "0044-03-15 00:00Z BC"])
async def test_a_moment_that_python_cannot_represent_hides_no_other_run(unchecked: str, moment: str) -> None:
    async with attacked(unchecked) as (client, connection):
        other = await client.begin(doubling, 21, delay=3600)
        run_key = await new_run(connection, "doubling", "1")
        never = await client.begin(doubling, 1, delay=3600)
        parts = never.run_key.workflow_name_shard, never.run_key.run_id
        await connection.execute(
            "UPDATE durable.runs SET next_wake_at = %s, updated_at = %s WHERE workflow_name_shard = %s AND run_id = %s",
            (moment, moment, *parts),
        )
        await client.schedule(doubling, 1, "s", "0 9 1 1 *")
        await connection.execute("UPDATE durable.schedules SET created_at = %s, updated_at = %s", (moment, moment))

        assert {run.run_key for run in await client.list_runs()} >= {other.run_key, never.run_key}
        assert (await never.info()).status in ("sleeping", "running", "completed")
        assert [one.schedule_id for one in await client.list_schedules()] == ["s"]
        assert await client.handle(run_key, doubling).result(timeout=20) == 2
        assert await (await client.begin(doubling, 4, delay=0.2)).result(timeout=20) == 8
        if moment.startswith("-") or "BC" in moment:
            assert await never.result(timeout=20) == 2


@pytest.mark.parametrize("moment", ["infinity", "20000-01-01 00:00Z"])
async def test_a_wait_without_an_end_is_a_wait_without_a_limit(unchecked: str, moment: str) -> None:
    async with attacked(unchecked) as (client, connection):
        handle = await client.begin(stepping, 0)
        async with asyncio.timeout(20):
            while (await handle.info()).status != "waiting_event":
                await asyncio.sleep(0.01)
        await connection.execute("UPDATE durable.waits SET wake_at = %s WHERE satisfied_at IS NULL", (moment,))
        await handle.publish_event("other", 1)
        await handle.publish_event("news", 3)
        assert await handle.result(timeout=20) == 3
