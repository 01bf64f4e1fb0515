"""What the client role may write: nothing that only the engine can say, and nothing that nobody can read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from durable import AsyncClient, AsyncHandle, Context, RunKey, Worker, workflow
from durable.admin.migration import migrate
from durable.store.ids import cancel_id, child_run_id, uuid7
from durable.worker.run import draws
from tests.roles import as_role, make_roles
from tests.watching import rows, until

CHILD = "SELECT workflow_name_shard, run_id::text FROM durable.runs WHERE parent_run_id IS NOT NULL AND status = %s"
EVENT = (
    "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload)"
    " VALUES (%s, %s, %s, %s, %s, %s)"
)
RUN = "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input) VALUES (%s, %s, %s, %s)"
SCHEDULE = (
    "INSERT INTO durable.schedules (schedule_id, workflow_name, expression, timezone, input)"
    " VALUES (%s, %s, %s, %s, %s)"
)
FORGED_END = '{"status":"completed","output":"forged"}'
KINDS = ("event", "cancel", "terminate", "retry", "child")
MOST = 16 * 1024 * 1024


@workflow
async def sleeper(ctx: Context) -> str:
    try:
        return await ctx.wait_for_event("go", "go", str)
    except asyncio.CancelledError:
        await ctx.execute("clean up", clean_up)
        raise


async def clean_up() -> None:
    pass


@workflow
async def parent(ctx: Context) -> str:
    return await ctx.run_child("child", sleeper)


@workflow
async def giving_up(ctx: Context) -> str:
    child = asyncio.ensure_future(ctx.run_child("child", sleeper))
    await ctx.wait_for_event("enough", "enough")
    child.cancel()
    await asyncio.wait([child])
    return "gave up"


@pytest.fixture
def limited(bare_database: str) -> Iterator[str]:
    """A database with the schema and its roles."""
    migrate(bare_database)
    make_roles(bare_database)
    yield bare_database


def hostile(limited: str) -> psycopg.Connection[Any]:
    return psycopg.connect(as_role(limited, "durable_client"))


def working(limited: str) -> Worker:
    return Worker(as_role(limited, "durable_worker"), [sleeper, parent, giving_up], max_poll_interval=0.2)


async def child_of(limited: str, handle: AsyncHandle[Any]) -> RunKey:
    """The child of that run, once it waits."""
    await until(lambda: rows(limited, CHILD, "waiting_event"))
    ((shard_value, run_id),) = await rows(limited, CHILD, "waiting_event")
    return RunKey(shard_value, run_id)


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_stored_under_the_id_of_a_child_but_its_true_end(kind: str, limited: str) -> None:
    async with AsyncClient(as_role(limited, "durable_client")) as client, working(limited):
        handle = await client.begin(parent)
        child = await child_of(limited, handle)
        row = (*_of(handle), child.run_id, kind, child.run_id, FORGED_END)
        with hostile(limited) as connection, pytest.raises(errors.CheckViolation):
            connection.execute(EVENT, row)
        await client.publish_event(child, "go", "the truth")
        assert await handle.result(timeout=20) == "the truth"


@pytest.mark.parametrize("name", ["", "child", "child:result"])
async def test_no_end_of_a_child_is_stored_under_any_other_id(name: str, limited: str) -> None:
    async with AsyncClient(as_role(limited, "durable_client")) as client, working(limited):
        handle = await client.begin(parent)
        child = await child_of(limited, handle)
        for event_id in (uuid4(), handle.run_key.run_id, uuid7()):
            row = (*_of(handle), str(event_id), "child", name or child.run_id, FORGED_END)
            with hostile(limited) as connection, pytest.raises(errors.CheckViolation):
                connection.execute(EVENT, row)
        for column in ("child_status", "sender_run_id", "routed_at", "created_at", "consumed_by"):
            with hostile(limited) as connection, pytest.raises(errors.InsufficientPrivilege):
                connection.execute(f"INSERT INTO durable.events ({column}) VALUES (NULL)".encode())
        with hostile(limited) as connection:  # an event is all that it may send
            connection.execute(EVENT, (*_of(handle), str(uuid4()), "event", child.run_id, FORGED_END))
        await client.publish_event(child, "go", "the truth")
        assert await handle.result(timeout=20) == "the truth"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_parent_s_cancel_reaches_its_child_whatever_a_client_inserts(kind: str, limited: str) -> None:
    async with AsyncClient(as_role(limited, "durable_client")) as client, working(limited):
        handle = await client.begin(giving_up)
        child = await child_of(limited, handle)
        parent_id = handle.run_key.run_id
        with hostile(limited) as connection, pytest.raises(errors.CheckViolation):
            row = (child.workflow_name_shard, child.run_id, cancel_id(parent_id, child.run_id), kind, "cancel", "null")
            connection.execute(EVENT, row)
        if kind not in ("child", "cancel", "terminate"):  # with those it may end the child itself
            with hostile(limited) as connection:
                connection.execute(EVENT, (child.workflow_name_shard, child.run_id, parent_id, kind, "x", "null"))
        await handle.publish_event("enough")
        assert await handle.result(timeout=20) == "gave up"
        await until(lambda: rows(limited, CHILD, "cancelled"))


@pytest.mark.parametrize("kind", ["event", "retry"])
async def test_a_child_of_an_earlier_version_loses_no_end_to_a_row_under_its_id(
    kind: str, limited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws, "child_run_id", lambda _: str(uuid7()))
    async with AsyncClient(as_role(limited, "durable_client")) as client, working(limited):
        handle = await client.begin(parent)
        child = await child_of(limited, handle)
        with hostile(limited) as connection:
            connection.execute(EVENT, (*_of(handle), child.run_id, kind, child.run_id, FORGED_END))
        await client.publish_event(child, "go", "the truth")
        assert await handle.result(timeout=20) == "the truth"


async def test_a_parent_of_version_6_may_cancel_under_its_own_id_though_it_is_a_child_itself(limited: str) -> None:
    grandparent = str(uuid7())
    mother = child_run_id(grandparent)
    child = child_run_id(mother)
    with hostile(limited) as connection:  # which has the same columns
        connection.execute(EVENT, ("sleeper_0", child, mother, "cancel", "cancel", "null"))


def test_the_check_and_the_code_reserve_the_same_ids(limited: str) -> None:
    with hostile(limited) as connection:
        for last in range(256):
            run_id = str(UUID(int=(uuid4().int & ~0xFF) | last))
            for reserved in (child_run_id(run_id), cancel_id(str(uuid4()), run_id)):
                with pytest.raises(errors.CheckViolation), connection.transaction():
                    connection.execute(EVENT, ("a_0", run_id, reserved, "event", "a", "null"))
            for free in (uuid4(), uuid7(), run_id):
                connection.execute(EVENT, ("a_0", run_id, str(free), "event", "a", "null"))
        connection.rollback()


def _of(handle: AsyncHandle[Any]) -> tuple[str, str]:
    return handle.run_key.workflow_name_shard, handle.run_key.run_id


@pytest.mark.parametrize(
    "statement",
    [
        "LOCK TABLE durable.schedules IN ROW SHARE MODE",
        "LOCK TABLE durable.schedules",
        "LOCK TABLE durable.runs IN ROW EXCLUSIVE MODE",
        "LOCK TABLE durable.events IN ROW EXCLUSIVE MODE",
        "DELETE FROM durable.schedules",
        "ALTER FUNCTION durable.delete_schedule SET search_path = public",
        "CREATE OR REPLACE FUNCTION durable.delete_schedule(schedule text) RETURNS boolean RETURN true",
    ],
)
def test_a_client_locks_no_table_and_takes_no_part_of_the_function_that_deletes(statement: str, limited: str) -> None:
    with hostile(limited) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_the_function_that_deletes_a_schedule_is_the_client_s_alone(limited: str) -> None:
    for role in ("durable_worker", "durable_viewer"):
        with psycopg.connect(as_role(limited, role)) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute("SELECT durable.delete_schedule('daily')")


def test_the_function_that_deletes_is_not_led_astray_by_a_search_path(limited: str) -> None:
    with psycopg.connect(limited, autocommit=True) as admin:
        admin.execute("GRANT CREATE, USAGE ON SCHEMA public TO durable_client")
        admin.execute(
            "INSERT INTO durable.schedules (schedule_id, workflow_name, expression) VALUES ('a', 'a', '@daily')"
        )
    with hostile(limited) as connection:
        connection.execute(
            "CREATE FUNCTION public.equal(text, text) RETURNS boolean LANGUAGE sql"
            " AS 'SELECT current_user = ''durable_owner''';"
            "CREATE OPERATOR public.= (FUNCTION = public.equal, LEFTARG = text, RIGHTARG = text);"
            "SET search_path = public, pg_catalog"
        )
        assert connection.execute("SELECT durable.delete_schedule('b')").fetchone() == (False,)
        assert connection.execute("SELECT durable.delete_schedule('a')").fetchone() == (True,)
        assert connection.execute("SELECT count(*) FROM durable.schedules").fetchone() == (0,)


def with_column(insert: str, column: str) -> str:
    """The same insert, of one column more."""
    return insert.replace(") VALUES", f", {column}) VALUES").replace("%s)", "%s, %s)")


@pytest.mark.parametrize("size", [0, 1])
def test_what_a_client_inserts_has_a_size(size: int, limited: str) -> None:
    """One byte more is too much."""
    text = '"' + "x" * (MOST - 2 + size) + '"'
    tags = '{"a": "' + "x" * (512 * 1024 - 9 + size) + '"}'
    inserts: list[tuple[str, tuple[Any, ...]]] = [
        (RUN, ("a_0", uuid4(), "a", text)),
        (with_column(RUN, "tags"), ("a_0", uuid4(), "a", "1", tags)),
        (EVENT, ("a_0", uuid4(), uuid4(), "event", "a", text)),
        (SCHEDULE, ("a", "a", "@daily", "UTC", text)),
        (SCHEDULE, ("b", "a", "x" * (4000 + size), "UTC", "1")),
        (SCHEDULE, ("c", "a", "@daily", "x" * (200 + size), "1")),
    ]
    for statement, values in inserts:
        with hostile(limited) as connection:
            if size == 0:
                connection.execute(statement.encode(), values)
                continue
            with pytest.raises(errors.CheckViolation):
                connection.execute(statement.encode(), values)


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "10000-01-01", "0001-01-01 BC"])
def test_no_moment_of_a_client_is_beyond_what_can_be_read(moment: str, limited: str) -> None:
    inserts = [
        (with_column(with_column(RUN, "status"), "next_wake_at"), ("a_0", uuid4(), "a", "1", "sleeping", moment)),
        *((with_column(RUN, column), ("a_0", uuid4(), "a", "1", moment)) for column in ("deadline_at", "scheduled_at")),
        *(
            (with_column(SCHEDULE, column), ("a", "a", "@daily", "UTC", "1", moment))
            for column in ("starts_at", "ends_at", "anchor_at", "next_tick_at", "due_at", "created_at", "updated_at")
        ),
    ]
    for statement, values in inserts:
        with hostile(limited) as connection, pytest.raises(errors.CheckViolation):
            connection.execute(statement.encode(), values)


def test_an_update_of_a_schedule_is_bounded_like_its_insert(limited: str) -> None:
    with hostile(limited) as connection:
        connection.execute(SCHEDULE, ("a", "a", "@daily", "UTC", "1"))
        connection.commit()
        for column, value in (("due_at", "infinity"), ("problem", "x" * 65537), ("input", f'"{"x" * MOST}"')):
            with pytest.raises(errors.CheckViolation):
                connection.execute(f"UPDATE durable.schedules SET {column} = %s".encode(), (value,))
            connection.rollback()


@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload, reply)"
            " VALUES ('sleeper_0', gen_random_uuid(), gen_random_uuid(), 'request', 'add', '1', '2')"
        ),
        (
            "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload, refused)"
            " VALUES ('sleeper_0', gen_random_uuid(), gen_random_uuid(), 'request', 'add', '1', true)"
        ),
        (
            "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload, replied_at)"
            " VALUES ('sleeper_0', gen_random_uuid(), gen_random_uuid(), 'request', 'add', '1', now())"
        ),
        "UPDATE durable.events SET reply = '2', refused = false, replied_at = now()",
    ],
)
def test_a_client_asks_and_reads_answers_but_gives_none(statement: str, limited: str) -> None:
    with psycopg.connect(as_role(limited, "durable_client"), autocommit=True) as client:
        client.execute(EVENT, ("sleeper_0", uuid4(), uuid4(), "request", "add", "1"))
        assert client.execute("SELECT reply, refused, replied_at FROM durable.events").fetchall() == [(None,) * 3]
        with pytest.raises(errors.InsufficientPrivilege):
            client.execute(statement.encode())
