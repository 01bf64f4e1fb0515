"""Failure modes E: data that nobody expects, through the front door and by SQL behind its back."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Context, RunFailed, SerializationError, Worker, workflow
from durable.store.queries import query_text
from tests.watching import rows, until


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


REFUSED: dict[str, Any] = {
    "e1 NUL": {"text": "a\0b"},
    "e1 NUL in a key": {"a\0b": 1},
    "e1 lone surrogate": ["\ud800"],
    "e2 NaN": {"price": float("nan")},
    "e2 infinity": [float("-inf")],
    "e4 too deep": nested(201),
    "e5 too large": "x" * (1024 * 1024),
}
STORED: dict[str, Any] = {
    "e1 every other character": "".join(map(chr, range(1, 0x2FF))) + "\uffff\U0010ffff",
    "e3 integers beyond 2^53 and 2^64": [2**53 + 1, -(2**63), 2**64, 10**40],
    "e3 floats that jsonb would change": [1e16, -0.0, 5e-324, 1.7976931348623157e308],
    "e4 200 levels": nested(200),
    "e5 just small enough": "x" * (1024 * 1024 - 2),
}


@workflow
async def echoing(ctx: Context, value: Any) -> Any:
    """Its own input, through a step and an event."""

    async def same() -> Any:
        return value

    stepped = await ctx.execute("same", same)
    heard = await ctx.wait_for_event("value", "value", Any)
    return [value, stepped, heard] if len(str(value)) < 10_000 and value != nested(200) else "equal"


@pytest.mark.parametrize("value", STORED.values(), ids=list(STORED))
async def test_e1_to_e5_what_can_be_stored_comes_back_equal_by_every_way(database: str, value: Any) -> None:
    async with AsyncClient(database) as client, Worker(database, [echoing]):
        handle = await client.begin(echoing, value)
        await handle.publish_event("value", value)
        returned = await handle.result(timeout=20)
    assert returned == "equal" or repr(returned) == repr([value] * 3)
    ((text, memo, event),) = await rows(
        database,
        "SELECT run.input::text, step.output::text, event.payload::text FROM durable.runs AS run"
        " JOIN durable.steps AS step USING (workflow_name_shard, run_id)"
        " JOIN durable.events AS event USING (workflow_name_shard, run_id)",
    )
    assert text == memo == event
    assert json.loads(text) == value


@workflow
async def from_a_step(ctx: Context, name: str) -> None:
    async def make() -> Any:
        return REFUSED[name]

    await ctx.execute("make", make)


@workflow
async def at_its_end(ctx: Context, name: str) -> Any:
    return REFUSED[name]


@pytest.mark.parametrize("name", REFUSED)
async def test_e1_to_e5_what_cannot_be_stored_is_refused_by_every_way_and_ends_its_run_alone(
    database: str, name: str
) -> None:
    async with AsyncClient(database) as client, Worker(database, [from_a_step, at_its_end, echoing]):
        neighbour = await client.begin(echoing, 1)
        with pytest.raises(SerializationError):
            await client.begin(echoing, REFUSED[name])
        with pytest.raises(SerializationError):
            await neighbour.publish_event("value", REFUSED[name])
        with pytest.raises(SerializationError):
            await client.schedule(echoing, REFUSED[name], "never", "0 0 1 1 *")
        for bad in (from_a_step, at_its_end):
            with pytest.raises(RunFailed, match=r"SerializationError.*\$"):
                await (await client.begin(bad, name)).result(timeout=20)
        await neighbour.publish_event("value", 1)
        assert await neighbour.result(timeout=20) == [1, 1, 1]


BY_SQL = {
    "e3 more digits than Python reads": "1e5000",
    "e3 an integer of 5,000 digits": "9" * 5000,
    "e4 more levels than Python reads": "[" * 5000 + "]" * 5000,
    "e1 an escaped NUL": r'"\u0000"',
    "e1 an escaped surrogate": r'"\ud800"',
    "e6 another type": '{"a": 1, "a": 2}',
}


@workflow
async def strict(ctx: Context, number: int) -> int:
    async def one() -> int:
        return 1

    return number + await ctx.execute("one", one) + await ctx.wait_for_event("more", "more", int)


@pytest.mark.parametrize("text", BY_SQL.values(), ids=list(BY_SQL))
@pytest.mark.parametrize("where", ["input", "memo", "event", "schedule"])
async def test_e1_to_e6_what_sql_put_there_ends_its_run_with_a_reason_and_no_worker(
    database: str, text: str, where: str
) -> None:
    async with AsyncClient(database) as client:
        run_id = str(uuid.uuid4())
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            if where == "schedule":
                await connection.execute(
                    "INSERT INTO durable.schedules (schedule_id, workflow_name, expression, input)"
                    " VALUES ('bad', 'strict', '@every 1h', %s)",
                    (text,),
                )
                await connection.execute(
                    "UPDATE durable.schedules SET next_tick_at = now() - interval '1 s', due_at = now()"
                )
            else:
                await connection.execute(
                    "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input, epoch)"
                    " VALUES ('strict_0', %s, 'strict', %s, 1)",
                    (run_id, text if where == "input" else "1"),
                )
            if where == "memo":
                await connection.execute(
                    "INSERT INTO durable.steps"
                    " (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at, output)"
                    " VALUES ('strict_0', %s, 'one', 'execute', 'completed', 1, 'strict.<locals>.one', now(), %s)",
                    (run_id, text),
                )
            if where == "event":
                await connection.execute(
                    "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload)"
                    " VALUES ('strict_0', %s, %s, 'more', %s)",
                    (run_id, run_id, text),
                )
        async with Worker(database, [strict], poll_interval=0.05) as worker:
            good = await client.begin(strict, 1)
            await good.publish_event("more", 1)
            assert await good.result(timeout=20) == 3
            await until_set_aside(database)
            assert worker.healthy()
            (aside,) = await client.list_runs(status="sleeping")
            status = await client.get_run_info(aside.run_key)
    assert status.error is not None
    assert status.error.type == "NondeterminismError"
    assert "does not fit" in status.error.message
    assert status.takeovers == 0


async def until_set_aside(dsn: str) -> None:
    async def is_there() -> bool:
        return await rows(dsn, "SELECT count(*) FROM durable.runs WHERE set_asides > 0") == [(1,)]

    await until(is_there)


async def until_failed(dsn: str, *, count: int) -> None:
    async def are_there() -> bool:
        return await rows(dsn, "SELECT count(*) FROM durable.runs WHERE status = 'failed'") == [(count,)]

    await until(are_there)


async def test_e5_no_list_reads_a_payload(database: str) -> None:
    listed = query_text("inspection/list_runs", "durable").split("FROM", 1)[0]
    assert not {"input", "output", "error", "payload", "*"} & set(listed.replace(",", " ").split())
    huge = json.dumps("x" * 1000)
    await rows(
        database,
        "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input)"
        " SELECT 'strict_0', gen_random_uuid(), 'strict', (%s)::json FROM generate_series(1, 100)",
        huge,
    )
    async with AsyncClient(database) as client:
        assert not any("xxx" in str(run) for run in await client.list_runs(limit=100))


async def test_e6_a_payload_keeps_its_exact_text(database: str) -> None:
    text = '{"b": 1e2, "a": -0.0, "b": 1E+2, "c": 1.50}'
    await rows(
        database,
        "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input)"
        " VALUES ('strict_0', gen_random_uuid(), 'strict', %s)",
        text,
    )
    assert await rows(database, "SELECT input::text FROM durable.runs") == [(text,)]
