"""What runs are given besides their input, by the clients that begin them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import Begin, Every, InvalidArgument, RunKey
from durable.admin.migration import migrate
from tests.client.colours import Colour, open_client, open_transaction, rows
from tests.client.workflows import Order, checkout, greet

GIVEN = "SELECT priority, tags, headers, deadline_at - coalesce(next_wake_at, created_at) FROM durable.runs"
YEAR_3000 = datetime(3000, 1, 1, tzinfo=UTC)


async def test_headers_and_a_timeout_are_kept_with_the_run(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        await client.begin(greet, "Ada", headers={"trace": "00-ä", "tenant": ""}, timeout=60, delay=5)
        await client.begin_tx(tx.inner, greet, "Bob", key="k", headers={"trace": "2"}, timeout=timedelta(minutes=2))
        await tx.commit()
        await client.begin(greet, "Eve", key="k2", headers={})
    assert rows(database, f"{GIVEN} ORDER BY created_at") == [
        (0, None, {"trace": "00-ä", "tenant": ""}, timedelta(minutes=1)),
        (0, None, {"trace": "2"}, timedelta(minutes=2)),
        (0, None, {}, None),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {"headers": {"a": 1}},
        {"headers": {1: "a"}},
        {"headers": {"a": "\0"}},
        {"headers": {"a": "\ud800"}},
        {"headers": {"": "a"}},
        {"headers": ["secret"]},
        {"headers": {"a": "secret" * 2000}},
        {"headers": {str(n): "" for n in range(8193)}},
        {"timeout": 0},
        {"timeout": "soon"},
    ],
)
async def test_what_cannot_be_kept_is_refused_and_no_value_is_shown(
    colour: Colour, database: str, bad: dict[str, Any]
) -> None:
    async with open_client(colour, database) as client:
        for call in (
            client.begin(greet, "Ada", **bad),
            client.begin_many(greet, ["Ada"], **bad),
            client.begin_many(greet, [], **bad),
            client.begin_many(greet, ["Ada", Begin("Bob", **bad)]),
            client.schedule(greet, "Ada", "s", Every(60), **bad),
        ):
            with pytest.raises(InvalidArgument, match=next(iter(bad))) as refused:
                await call
            assert "secret" not in str(refused.value)
    assert rows(database, "SELECT 1 FROM durable.runs UNION ALL SELECT 2 FROM durable.schedules") == []


async def test_headers_of_exactly_8_kib_are_kept(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        await client.begin(greet, "Ada", headers={"a": "x" * (8192 - len('{"a":""}'))})
        with pytest.raises(InvalidArgument, match="got 8193 bytes"):
            await client.begin(greet, "Ada", headers={"a": "x" * (8193 - len('{"a":""}'))})
    assert rows(database, "SELECT octet_length(headers::text) FROM durable.runs") == [(8192,)]


async def test_each_run_of_begin_many_may_have_options_of_its_own(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        run_keys = await client.begin_many(
            checkout,
            [
                Order(1),
                Begin(Order(2), delay=3600, priority=9, tags={}, timeout=60),
                Begin(Order(3), at=YEAR_3000, headers={"own": '\\ "1" {,}'}, tags=None),
                Begin(Order(4), key="four"),
            ],
            priority=5,
            tags={"all": "NULL"},
            headers={"all": "yes"},
        )
    assert rows(
        database,
        "SELECT (input ->> 'number')::int, status, priority, tags, headers, key, next_wake_at - created_at < '2 h',"
        " deadline_at - next_wake_at FROM durable.runs ORDER BY 1",
    ) == [
        (1, "queued", 5, {"all": "NULL"}, {"all": "yes"}, None, None, None),
        (2, "sleeping", 9, {}, {"all": "yes"}, None, True, timedelta(minutes=1)),
        (3, "sleeping", 5, None, {"own": '\\ "1" {,}'}, None, False, None),
        (4, "queued", 5, {"all": "NULL"}, {"all": "yes"}, "four", None, None),
    ]
    (stored,) = rows(database, "SELECT array_agg(run_id::text ORDER BY input ->> 'number') FROM durable.runs")
    assert [key.run_id for key in run_keys] == stored[0]


async def test_begin_many_gives_the_same_run_for_the_same_key(colour: Colour, bare_database: str) -> None:
    migrate(bare_database, shard_count=2)
    async with open_client(colour, bare_database) as client:
        before = (await client.begin(greet, "first", key="a")).run_key
        migrate(bare_database, shard_count=64)
        found, again, new = await client.begin_many(greet, [Begin("x", key="a"), Begin("y", key="b"), "z"])
        repeated = await client.begin_many(greet, [Begin("y", key="b"), Begin("z", key="b"), Begin("x", key="a")])
    assert found == before
    assert repeated == [again, again, before]
    stored = rows(bare_database, "SELECT workflow_name_shard, run_id::text, input #>> '{}' FROM durable.runs")
    assert {RunKey(shard, run_id): input for shard, run_id, input in stored} == {before: "first", again: "y", new: "z"}


async def test_a_session_that_reads_no_nulls_in_arrays_begins_many_all_the_same(colour: Colour, database: str) -> None:
    dsn = f"{database} options='-c array_nulls=off'"
    async with open_client(colour, dsn) as client:
        await client.begin_many(greet, ["Ada", Begin("Bob", tags={"a": "b"}, key="k")])
    assert rows(database, "SELECT tags, key, deadline_at FROM durable.runs ORDER BY key") == [
        ({"a": "b"}, "k", None),
        (None, None, None),
    ]


async def test_every_run_of_a_schedule_is_given_its_options(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        options: dict[str, Any] = {"priority": -1, "tags": {"by": "clock"}, "headers": {"a": "b"}, "timeout": 60}
        await client.schedule(greet, "Ada", "s", Every(60), run_now=True, **options)
        await client.trigger_schedule("s")
        expected = (-1, {"by": "clock"}, {"a": "b"}, timedelta(minutes=1))
        assert rows(database, GIVEN) == 2 * [expected]
        await client.schedule(greet, "Ada", "s", Every(60))
        await client.trigger_schedule("s")
    assert rows(database, f"{GIVEN} ORDER BY priority") == [expected, expected, (0, None, None, None)]
