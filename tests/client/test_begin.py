"""Beginning runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from durable.admin.migration import migrate
from durable.core.errors import InvalidArgument, SerializationError
from durable.core.runs import RunKey
from durable.core.shards import shard_value
from tests.client.colours import Colour, open_client, open_transaction, rows
from tests.client.workflows import Order, Receipt, checkout, greet, nightly
from tests.watching import listen_to_work, without_tickets


def runs_in(database: str) -> int:
    return int(rows(database, "SELECT count(*) FROM durable.runs")[0][0])


async def test_begin_stores_a_queued_run(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(checkout, Order(7), priority=-3, tags={"customer": "Ümit"})

    assert handle.is_new
    assert handle.run_key.workflow_name_shard == "checkout ✓_0"
    assert UUID(handle.run_key.run_id).version == 7
    stored = rows(
        database,
        "SELECT workflow_name_shard, run_id::text, workflow_name, version, status, priority, tags->>'customer',"
        " input::text, next_wake_at, key FROM durable.runs",
    )
    assert stored == [
        (*_parts(handle.run_key), "checkout ✓", 3, "queued", -3, "Ümit", '{"number":7,"note":""}', None, None)
    ]


async def test_a_workflow_without_input_is_begun_without_one(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        await client.begin(nightly)
        with pytest.raises(InvalidArgument, match="takes no input"):
            await client.begin(nightly, 5)

    assert rows(database, "SELECT input::text FROM durable.runs") == [("null",)]


async def test_the_same_key_gives_the_same_run(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        first = await client.begin(greet, "Ada", key="order-1")
        second = await client.begin(greet, "Bob", key="order-1")
        other_key = await client.begin(greet, "Ada", key="order-2")
        other_workflow = await client.begin(nightly, key="order-1")

    assert (first.is_new, second.is_new) == (True, False)
    assert first.run_key == second.run_key
    assert len({first.run_key.run_id, other_key.run_key.run_id, other_workflow.run_key.run_id}) == 3
    assert rows(database, "SELECT input::text FROM durable.runs WHERE run_id = %s", first.run_key.run_id) == [
        ('"Ada"',)
    ]


async def test_a_key_outlives_a_raise_of_the_shard_count(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as early, open_client(colour, database) as late:
        first = [(await early.begin(greet, "Ada", key=str(n))).run_key for n in range(20)]
        migrate(database, shard_count=5)
        # One client learns of the raise, the other still thinks that there is a single shard value.
        second = [(await late.begin(greet, "Bob", key=str(n))).run_key for n in range(20, 40)]
        again = [await client.begin(greet, "Cy", key=str(n)) for client in (early, late) for n in range(40)]

    assert [handle.run_key for handle in again] == (first + second) * 2
    assert not any(handle.is_new for handle in again)
    assert len({run_key.workflow_name_shard for run_key in second}) == 5


async def test_twenty_at_once_with_one_key_create_one_run(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handles = await asyncio.gather(*(client.begin(greet, str(n), key="k") for n in range(20)))

    assert sum(handle.is_new for handle in handles) == 1
    assert len({handle.run_key for handle in handles}) == 1
    assert runs_in(database) == 1


async def test_delay_and_at_put_the_run_to_sleep_by_the_database_clock(colour: Colour, database: str) -> None:
    moment = datetime(2040, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    async with open_client(colour, database) as client:
        delayed = await client.begin(greet, "a", delay=timedelta(hours=1))
        soon = await client.begin(greet, "b", delay=0.25)
        planned = await client.begin(greet, "c", at=moment)
        status = await client.get_run_info(planned.run_key)

    asleep = "SELECT status, extract(epoch FROM next_wake_at - created_at)::float8 FROM durable.runs WHERE run_id = %s"
    assert rows(database, asleep, delayed.run_key.run_id) == [("sleeping", 3600.0)]
    assert rows(database, asleep, soon.run_key.run_id) == [("sleeping", 0.25)]
    assert (status.status, status.next_wake_at) == ("sleeping", moment)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"input": 5}, InvalidArgument),
        ({"input": None}, InvalidArgument),
        ({"input": object()}, SerializationError),
        ({"input": float("nan")}, SerializationError),
        ({"input": "\ud800"}, SerializationError),
        ({"key": ""}, InvalidArgument),
        ({"key": "é" * 101}, InvalidArgument),
        ({"key": "a\0b"}, InvalidArgument),
        ({"key": 5}, InvalidArgument),
        ({"delay": -1}, InvalidArgument),
        ({"delay": float("nan")}, InvalidArgument),
        ({"delay": "1"}, InvalidArgument),
        ({"delay": 1e12}, InvalidArgument),
        ({"at": datetime(2030, 1, 1)}, InvalidArgument),
        ({"at": "tomorrow"}, InvalidArgument),
        ({"at": datetime.max.replace(tzinfo=UTC)}, InvalidArgument),
        ({"delay": 1, "at": datetime(2030, 1, 1, tzinfo=UTC)}, InvalidArgument),
        ({"priority": 32768}, InvalidArgument),
        ({"priority": 1.5}, InvalidArgument),
        ({"priority": True}, InvalidArgument),
        ({"tags": {"a": 1}}, InvalidArgument),
        ({"tags": {1: "a"}}, InvalidArgument),
        ({"tags": {"a": "\0"}}, InvalidArgument),
        ({"tags": {"a": "\ud800"}}, InvalidArgument),
        ({"tags": {"": "a"}}, InvalidArgument),
        ({"tags": ["a"]}, InvalidArgument),
        ({"tags": {str(n): "" for n in range(65)}}, InvalidArgument),
        ({"tags": {"a": "x" * 1001}}, InvalidArgument),
    ],
)
async def test_a_bad_argument_is_refused_and_nothing_stored(
    colour: Colour, database: str, arguments: dict[str, Any], error: type[Exception]
) -> None:
    arguments = {"input": "Ada"} | arguments
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        with pytest.raises(error):
            await client.begin(greet, **arguments)
        with pytest.raises(error):
            await client.begin_tx(tx.inner, greet, **arguments)
        # The caller's transaction is still good for use.
        await client.begin_tx(tx.inner, greet, "fine")
        await tx.rollback()

    assert runs_in(database) == 0


async def test_what_is_no_workflow_is_refused(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        with pytest.raises(InvalidArgument, match="@workflow"):
            await client.begin(greet.function, "Ada")
        with pytest.raises(InvalidArgument, match="@workflow"):
            await client.begin_many("greet", ["Ada"])


async def test_begin_tx_is_seen_after_the_commit_and_not_before(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        committed = await client.begin_tx(tx.inner, greet, "Ada", key="k")
        assert runs_in(database) == 0
        assert isinstance(committed, RunKey)

        await tx.commit()
        assert runs_in(database) == 1

        await client.begin_tx(tx.inner, greet, "Bob")
        await tx.rollback()
        assert runs_in(database) == 1


async def test_begin_tx_takes_cursors_and_any_row_factory(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        tx.inner.row_factory = psycopg.rows.dict_row
        tx.inner.cursor_factory = psycopg.AsyncRawCursor if colour == "async" else psycopg.RawCursor
        await client.begin_tx(tx.inner, greet, "a")
        await client.begin_tx(tx.inner.cursor(), greet, "b")
        await tx.commit()

    assert runs_in(database) == 2


async def test_begin_tx_refuses_what_is_no_transaction_of_its_colour(colour: Colour, database: str) -> None:
    other: Colour = "sync" if colour == "async" else "async"
    async with open_client(colour, database) as client, open_transaction(other, database) as wrong:
        with pytest.raises(TypeError, match="AsyncClient" if other == "async" else "use Client"):
            await client.begin_tx(wrong.inner, greet, "Ada")
        with pytest.raises(TypeError, match="use"):
            await client.begin_tx(wrong.inner.cursor(), greet, "Ada")
        with pytest.raises(TypeError, match=r"a psycopg\..*, got a builtins\.object"):
            await client.begin_tx(object(), greet, "Ada")


async def test_a_handle_of_another_transaction_awaits_its_run(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        run_key = await client.begin_tx(tx.inner, checkout, Order(1))
        await tx.commit()
        rows(
            database,
            "UPDATE durable.runs SET status = 'completed', completed_at = now(), output = '{\"total\": 2.5}'",
        )
        handle = await client.handle(str(run_key), checkout)

        assert await handle.result() == Receipt(2.5)
        assert not handle.is_new


async def test_begin_many_begins_ten_thousand_in_their_order(colour: Colour, database: str) -> None:
    migrate(database, shard_count=4)
    async with open_client(colour, database) as client:
        run_keys = await client.begin_many(greet, (str(n) for n in range(10_000)))

    assert len(run_keys) == 10_000
    assert all(key.workflow_name_shard == shard_value("greet", key.run_id, 4) for key in run_keys)
    stored = rows(
        database,
        "SELECT workflow_name_shard, run_id::text, input::text FROM durable.runs ORDER BY (input #>> '{}')::int",
    )
    assert stored == [(*_parts(key), f'"{n}"') for n, key in enumerate(run_keys)]
    # Workers take them in this order too.
    assert rows(database, "SELECT input::text FROM durable.runs ORDER BY created_at, run_id LIMIT 2") == [
        ('"0"',),
        ('"1"',),
    ]


async def test_all_runs_of_begin_many_have_the_same_priority_and_tags(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        await client.begin_many(greet, ["Ada", "Bob"], priority=3, tags={"tenant": "a"})
        for bad in ({"priority": 40_000}, {"tags": {"a": 1}}):
            with pytest.raises(InvalidArgument):
                await client.begin_many(greet, ["Eve"], **bad)

    assert rows(database, "SELECT priority, tags->>'tenant' FROM durable.runs") == [(3, "a"), (3, "a")]


async def test_begin_many_is_all_or_nothing(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        assert await client.begin_many(greet, []) == []
        with pytest.raises(InvalidArgument):
            await client.begin_many(greet, ["fine", 5])

    assert runs_in(database) == 0


async def test_workers_are_told_of_what_was_begun(colour: Colour, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as listener:
        listener.execute(listen_to_work())
        async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
            run_key = await client.begin_tx(tx.inner, greet, "Ada")
            assert not list(listener.notifies(timeout=0.1))
            await tx.commit()
            await client.publish_event(run_key, "wake")

        payloads = [notice.payload for notice in listener.notifies(timeout=5, stop_after=2)]
    assert without_tickets(payloads) == ["first:greet_0", "event:greet_0"]


def _parts(run_key: RunKey) -> tuple[str, str]:
    return run_key.workflow_name_shard, run_key.run_id
