"""Parameters and rows mean the same in every library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import durable.store.queries
from durable.client.begins import BeginOperations as Operations
from durable.core.codec.json_codec import JsonCodec
from durable.store.queries import query_text
from durable.store.settings import lock_names
from tests.client.colours import rows
from tests.client.workflows import greet
from tests.contrib.libraries import Asyncpg, open_transaction

QUERIES = {
    *(
        f"{path.parent.name}/{path.stem}"
        for path in Path(durable.store.queries.__file__).parent.glob("*/*.sql")
        if path.parent.name in ("runs", "events", "inspection")
    ),
    "schedules/read_clock",
    "schedules/put_schedule",
    "schedules/pause_schedule",
    "schedules/resume_schedule",
    "schedules/delete_schedule",
    "schedules/list_schedules",
    "schedules/begin_scheduled_runs",
    "schedules/find_runs",
    "settings/find_settings",
    "settings/read_settings",
    "channels/announce_runs",
    "channels/announce_work",
}
ID = "0197f3a0-0000-7000-8000-00000000000a"
MOMENT = datetime(2031, 7, 1, 12, 30, 0, 123456, tzinfo=UTC)

KINDS_OF_PARAMETERS = """
    -- A comment: with :colons and 'quotes', 100%% of them
    SELECT %(id)s::uuid, %(id)s::text, %(ids)s::uuid[], %(ids)s::text[], %(no_ids)s::uuid[],
           %(texts)s::text[], %(moment)s::timestamptz, %(moments)s::timestamptz[], %(moment)s > now(),
           coalesce(%(nothing)s::timestamptz, now() + make_interval(secs => %(seconds)s::float8)) > now(),
           make_interval(secs => %(bare_seconds)s) = interval '1.5 s', %(seconds)s::float8, %(flag)s::boolean,
           %(small)s::smallint, %(large)s::bigint, %(document)s::jsonb ->> 'a', %(document)s::json::text,
           %(filter)s::text, %(text)s::text, %(text)s::text = ANY(%(texts)s), 'a%%b:c ::d', ARRAY[1, 2, 3],
           (ARRAY[1, 2, 3])[1:2]
    WHERE %(filter)s::text IS NULL OR %(text)s::text = %(filter)s
"""
PARAMETERS: dict[str, Any] = {
    "id": ID,
    "ids": [ID, None],
    "no_ids": [],
    "texts": ['a "b" {c}, \\ NULL', "", None, ":x %(y)s"],
    "moment": MOMENT,
    "moments": [MOMENT, None],
    "nothing": None,
    "filter": None,
    "seconds": 0.1 + 0.2,
    "bare_seconds": 1.5,
    "flag": True,
    "small": -32768,
    "large": 2**60,
    "document": '{"a": "ü\\"\\\\"}',
    "text": ":x %(y)s",
}


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


async def test_every_kind_of_parameter_and_value_is_what_psycopg_makes_of_it(kind: str, database: str) -> None:
    with psycopg.connect(database) as connection:
        expected = connection.execute(KINDS_OF_PARAMETERS.encode(), PARAMETERS).fetchall()
    async with open_transaction(kind, database) as tx:
        found = await tx.read(KINDS_OF_PARAMETERS, PARAMETERS)

    assert found == expected
    assert type(found[0]) is tuple
    for value, model in zip(found[0], expected[0], strict=True):
        assert isinstance(value, type(model))
    assert found[0][6].tzinfo is not None
    assert isinstance(found[0][0], UUID)


async def test_a_statement_without_rows_gives_none(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx:
        assert list(await tx.read("CREATE TABLE made (id int)", {})) == []
        assert await tx.read("SELECT id FROM made", {}) == []
        assert await tx.read("INSERT INTO made VALUES (1) RETURNING id", {}) == [(1,)]
        assert list(await tx.read("DELETE FROM made", {})) == []


async def test_every_operation_of_a_client_can_be_done(kind: str, database: str) -> None:
    operations = Operations(JsonCodec())
    async with open_transaction(kind, database) as tx:
        new = operations.new_run(greet, "Ada", key="k", tags={"a": "b"})
        keyed = await tx.operate(operations.begin(new, is_transaction=True))
        again = await tx.operate(operations.begin(operations.new_run(greet, "Ada", key="k"), is_transaction=True))
        await tx.operate(lock_names([keyed.run_key.run_id, "another"]))
        many = await tx.operate(operations.begin_many(operations.new_runs(greet, ["Bob", "Cy \\ {}"])))
        await tx.operate(operations.publish_event(operations.new_event(keyed.run_key, "paid", {"n": 1}, "once")))
        await tx.operate(operations.publish_event(operations.new_event(keyed.run_key, "paid", {"n": 2}, "once")))
        status = await tx.operate(operations.run_info(keyed.run_key))
        outcomes = await tx.operate(operations.outcomes([*many, keyed.run_key]))
        listed = await tx.operate(operations.list_runs(greet, "queued", 10, None))
        older = await tx.operate(operations.list_runs(None, None, 10, listed[0].run_key))
        await tx.commit()

    assert (keyed.is_new, again.is_new) == (True, False)
    assert (status.status, status.next_wake_at) == ("queued", None)
    assert timedelta(0) <= datetime.now(UTC) - status.created_at < timedelta(minutes=1)
    assert [outcome.status for outcome in outcomes.values()] == ["queued"] * 3
    assert {run.run_key for run in listed} == {*many, keyed.run_key}
    assert [run.tags for run in listed if run.run_key == keyed.run_key] == [{"a": "b"}]
    assert older == listed[1:]
    assert rows(database, "SELECT payload FROM durable.events") == [({"n": 1},)]
    assert sorted(rows(database, "SELECT input FROM durable.runs")) == [("Ada",), ("Bob",), ("Cy \\ {}",)]


async def test_a_session_keeps_its_pending_objects_pending(database: str) -> None:
    rows(database, "CREATE TABLE orders (id int)")
    async with open_transaction("sqlalchemy-session", database) as tx:
        tx.tx.add(Order(id=1))
        await tx.begin_tx(greet, "Ada")
        assert len(tx.tx.new) == 1
        await tx.commit()

    assert rows(database, "SELECT count(*) FROM orders, durable.runs") == [(1,)]


# What the SQL casts goes to asyncpg as text. For the others its own encoders must do, whatever the caller has set.


@pytest.mark.parametrize("name", sorted(QUERIES))
async def test_asyncpg_can_encode_what_our_statements_do_not_cast(name: str, database: str) -> None:
    from durable.contrib.asyncpg import _translated

    sql, names, cast_names = _translated(query_text(name, "durable"))
    asyncpg = Asyncpg()
    await asyncpg.open(database, "connection")
    try:
        types = (await asyncpg.tx.prepare(sql)).get_parameters()
    finally:
        await asyncpg.close()

    for parameter, type in zip(names, types, strict=True):
        allowed = (
            {"text", "text[]"} if parameter in cast_names else {"text", "text[]", "int2", "int4", "int8", "float8"}
        )
        assert type.name in allowed, f"cast %({parameter})s in {name}.sql"


@pytest.mark.parametrize(
    ("value", "type", "expected"),
    [
        (True, "boolean", True),
        (timedelta(days=-3, microseconds=5), "interval", timedelta(days=-3, microseconds=5)),
        (b"\x00\xff", "bytea", b"\x00\xff"),
        (Decimal("1.50"), "numeric", Decimal("1.50")),
        (float("inf"), "float8", float("inf")),
        (UUID(ID), "uuid", UUID(ID)),
        (MOMENT.date(), "date", MOMENT.date()),
        ([1, 2], "int[]", [1, 2]),
    ],
)
async def test_asyncpg_reads_the_text_of_a_value_as_that_value(
    value: Any, type: str, expected: Any, database: str
) -> None:
    async with open_transaction("asyncpg", database) as tx:
        assert await tx.read(f"SELECT %(value)s::{type}", {"value": value}) == [(expected,)]


async def test_asyncpg_says_which_type_it_has_no_text_for(database: str) -> None:
    async with open_transaction("asyncpg", database) as tx:
        with pytest.raises(TypeError, match="dict"):
            await tx.read("SELECT %(value)s::jsonb", {"value": {}})
