"""Names and values that would break out of a statement: refused, or stored as they are, and never interpreted."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from durable import Client, Context, DurableError, InvalidArgument, Worker, Workflow, workflow
from durable.admin.migration import migrate, roles_sql, schema_sql
from durable.cli import main

BREAKERS = [
    "'; DROP TABLE durable.runs; --",
    '"; DROP TABLE durable.runs; --',
    'durable"."runs',
    "durable.runs--",
    "a/**/b",
    "$$; DROP TABLE durable.runs; $$",
    "\\'; DROP TABLE durable.runs; --",
    "%s %(key)s %%",
    "{} {0} {schema}",
    "$1 $2",
    "a\nb\r\x1b[2Jc",
    "\u2028\u202e\ufeff",
    "ʼ; DROP TABLE durable.runs",
    "\uff07; DROP TABLE durable.runs; --",
    "E'\\x27'",
    "pg_sleep(10)",
    "😀" * 40,
]
REFUSED = ["", "\0", "a\0b", "\ud800", "x" * 201, "é" * 101, 5, b"bytes"]


@workflow
async def greet(ctx: Context, name: str) -> str:
    return name


def named(name: Any) -> Workflow[str, str]:
    async def anything(ctx: Context, name: str) -> str:
        return name

    return workflow(name=name)(anything)


def tables(database: str) -> list[Any]:
    with psycopg.connect(database) as connection:
        return connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'durable'::regnamespace"
        ).fetchall()


@pytest.mark.parametrize("text", BREAKERS)
async def test_text_of_any_kind_is_stored_as_it_is(text: str, database: str) -> None:
    before = tables(database)
    wf = named(text)
    with Client(database) as client:
        handle = client.begin(wf, text, key=text, tags={text: text})
        assert not client.begin(wf, "other", key=text).is_new
        client.publish_event(handle.run_key, text, text, key=text)
        client.publish_event(str(handle.run_key), text, text, key=text)
        client.schedule(wf, text, text, "0 9 * * *")
        client.pause_schedule(text)
        client.resume_schedule(text)
        client.cancel_run(client.begin(wf, text, delay=1000).run_key, text)
        assert [run.tags for run in client.list_runs(workflow=text, status="queued")] == [{text: text}]
        assert [(one.schedule_id, one.workflow_name) for one in client.list_schedules()] == [(text, text)]
        async with Worker(database, [wf], poll_interval=0.05):
            assert handle.run_key in [run.run_key for run in client.list_runs(workflow=text)]
            assert await _result(client, handle.run_key) == text
        client.delete_schedule(text)
        with psycopg.connect(database) as connection:
            assert connection.execute(
                "SELECT name, key, payload #>> '{}' FROM durable.events WHERE kind = 'event'"
            ).fetchall() == [(text, text, text)]
    assert tables(database) == before


async def _result(client: Client, run_key: Any) -> Any:
    return await asyncio.to_thread(lambda: client.handle(run_key).result(timeout=20))


@pytest.mark.parametrize("text", REFUSED, ids=repr)
@pytest.mark.parametrize(
    "call",
    [
        lambda client, text: named(text),
        lambda client, text: client.begin(greet, "x", key=text),
        lambda client, text: client.begin(greet, "x", tags={text * 5 if text else text: "a"}),
        lambda client, text: client.publish_event(f"greet_0:{uuid.uuid4()}", text),
        lambda client, text: client.pause_schedule(text),
        lambda client, text: client.delete_schedule(text),
        lambda client, text: client.get_run_info(text),
        lambda client, text: client.cancel_run(text),
        lambda client, text: Worker("dbname=nowhere", [greet], notify_channel=text),
        lambda client, text: Client("dbname=nowhere", schema=text),
        lambda client, text: schema_sql(text),
        lambda client, text: roles_sql(text),
    ],
    ids=["workflow", "key", "tag", "event", "pause", "delete", "status", "cancel", "channel", "schema", "sql", "roles"],
)
def test_what_is_no_name_is_refused_before_anything_is_stored(
    call: Callable[[Client, Any], object], text: Any, database: str
) -> None:
    with Client(database) as client:
        with pytest.raises((DurableError, TypeError)):
            call(client, text)
        assert client.list_runs() == []
        assert client.list_schedules() == []


@pytest.mark.parametrize("schema", [*BREAKERS, "pg_temp", "pg_catalog", "a" * 64, "", "1a", "ä"])
@pytest.mark.parametrize(
    "command",
    [
        ["migrate"],
        ["schema"],
        ["schema", "--roles"],
        ["schema", "--citus"],
        ["worker", "tests.worker.processes:three_steps"],
    ],
)
def test_no_command_takes_a_schema_that_is_no_plain_name(
    command: list[str], schema: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tables(database)
    assert main([*command, f"--schema={schema}", "--dsn", database]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("durable: schema must be ")
    assert shown.err.rstrip("\n").isprintable()
    assert shown.out == ""
    assert tables(database) == before


@pytest.mark.parametrize("text", [*BREAKERS, "\0"])
def test_no_argument_of_a_command_is_interpreted(text: str, database: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = tables(database)
    for command in (
        ["worker", f"{text}:x", "--dsn", database],
        ["worker", f"os:{text}", "--dsn", database],
        ["migrate", "--dsn", f"{text} host=x"],
        ["migrate", "--dsn", f"postgresql://{text}"],
    ):
        assert main(command) == 1, command
        shown = capsys.readouterr()
        assert shown.err.startswith("durable: ")
        assert "Traceback" not in shown.err
        assert shown.err.replace("\n", "").isprintable()
    for command in (["migrate", f"--shards={text}"], ["demo", f"--runs={text}"], [f"{text}"], ["schema", f"--{text}"]):
        assert main([*command, "--dsn", database]) == 2
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        assert shown.err.replace("\n", "").isprintable()
    assert tables(database) == before


@pytest.mark.parametrize("channel", [*(text for text in BREAKERS if len(text.encode()) <= 63)])
async def test_a_channel_of_any_name_is_listened_to(channel: str, database: str) -> None:
    async with Worker(database, [greet], notify_channel=channel, poll_interval=30):
        with psycopg.connect(database, autocommit=True) as connection, Client(database) as client:
            handle = client.begin(greet, "x")
            connection.execute("SELECT pg_notify(%s, %s)", (channel, f"run:{handle.run_key.workflow_name_shard}"))
            assert await _result(client, handle.run_key) == "x"
    assert migrate(database) == []


def test_a_refusal_carries_what_was_refused() -> None:
    with pytest.raises(InvalidArgument) as refused:
        schema_sql("a; b")
    assert (refused.value.argument, refused.value.value) == ("schema", "a; b")
