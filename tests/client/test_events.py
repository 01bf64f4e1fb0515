"""Publishing events."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import psycopg
import pytest

from durable import Event
from durable.core.errors import InvalidArgument, RunNotFound, RunTerminal, SerializationError
from durable.core.runs import RunKey
from tests.client.colours import Colour, open_client, open_transaction, rows
from tests.client.workflows import greet

NOWHERE = RunKey("greet_0", "01920000-0000-7000-8000-000000000000")


def events_in(database: str) -> list[Any]:
    return rows(database, "SELECT name, payload::text, key FROM durable.events ORDER BY created_at, event_id")


async def test_events_are_stored_in_the_order_of_their_publication(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        await client.publish_event(handle.run_key, "paid", {"amount": 1e16})
        await client.publish_event(str(handle.run_key), "paid")
        await handle.publish_event("sent", [1, "ü"], key="k")

    assert events_in(database) == [("paid", '{"amount":1e16}', None), ("paid", "null", None), ("sent", '[1,"ü"]', "k")]


async def test_events_of_one_transaction_keep_their_order(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        run_key = await client.begin_tx(tx.inner, greet, "Ada")
        for number in range(50):
            await client.publish_event_tx(tx.inner, run_key, "n", number)
        assert events_in(database) == []
        await tx.commit()

    assert [payload for _, payload, _ in events_in(database)] == [str(number) for number in range(50)]


async def test_a_key_stores_the_first_event_only(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        run_key = (await client.begin(greet, "Ada")).run_key
        assert await client.publish_event(run_key, "paid", 1, key="k")
        assert not await client.publish_event(run_key, "paid", 2, key="k")
        assert await client.publish_event(run_key, "sent", 3, key="k")
        rows(database, "UPDATE durable.runs SET status = 'completed', output = '1', completed_at = now()")
        assert not await client.publish_event(run_key, "paid", 4, key="k")

    assert events_in(database) == [("paid", "1", "k"), ("sent", "3", "k")]


async def test_a_key_published_ten_times_at_once_is_stored_once(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        run_key = (await client.begin(greet, "Ada")).run_key
        await asyncio.gather(*(client.publish_event(run_key, "paid", n, key="k") for n in range(10)))

    assert len(events_in(database)) == 1


async def test_no_run_or_an_ended_one_gets_no_event(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        run_key = (await client.begin(greet, "Ada")).run_key
        rows(database, "UPDATE durable.runs SET status = 'cancelled', completed_at = now()")
        with pytest.raises(RunTerminal, match="cancelled"):
            await client.publish_event(run_key, "paid")
        with pytest.raises(RunNotFound):
            await client.publish_event(NOWHERE, "paid")
        with pytest.raises(RunNotFound):
            await client.publish_event_tx(tx.inner, NOWHERE, "paid")
        # The error was found out without a failing statement: the transaction goes on.
        await client.begin_tx(tx.inner, greet, "Bob")
        await tx.commit()

    assert events_in(database) == []
    assert rows(database, "SELECT count(*) FROM durable.runs") == [(2,)]


async def test_publishing_waits_for_no_lock_of_the_engine_and_takes_none(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        run_key = (await client.begin(greet, "Ada")).run_key
        with psycopg.connect(database) as engine:
            engine.execute("SELECT FROM durable.runs FOR UPDATE")
            await asyncio.wait_for(client.publish_event_tx(tx.inner, run_key, "paid"), 5)
            engine.rollback()
            # Nor does the open transaction of the application hold up the engine.
            engine.execute("SELECT FROM durable.runs FOR UPDATE NOWAIT")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"run_key": "greet_0"}, InvalidArgument),
        ({"run_key": "greet_0:nothing"}, InvalidArgument),
        ({"run_key": 7}, InvalidArgument),
        ({"run_key": None}, InvalidArgument),
        ({"run_key": RunKey("a\0_0", NOWHERE.run_id)}, InvalidArgument),
        ({"run_key": RunKey("\ud800_0", NOWHERE.run_id)}, InvalidArgument),
        ({"run_key": RunKey("greet_0", "'; DROP TABLE runs")}, InvalidArgument),
        ({"name": ""}, InvalidArgument),
        ({"name": "n" * 201}, InvalidArgument),
        ({"name": 5}, InvalidArgument),
        ({"key": ""}, InvalidArgument),
        ({"payload": object()}, SerializationError),
        ({"payload": {"x": float("inf")}}, SerializationError),
    ],
)
async def test_a_bad_argument_is_refused(
    colour: Colour, database: str, arguments: dict[str, Any], error: type[Exception]
) -> None:
    async with open_client(colour, database) as client:
        given = {"run_key": (await client.begin(greet, "Ada")).run_key, "name": "paid"} | arguments
        with pytest.raises(error):
            await client.publish_event(**given)

    assert events_in(database) == []


async def test_a_request_and_an_event_of_one_name_and_key_are_two(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada", delay=1000)
        rows(
            database,
            "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, key, payload)"
            " VALUES (%s, %s, gen_random_uuid(), 'cancel', 'cancel', 'k', 'null')",
            handle.run_key.workflow_name_shard,
            handle.run_key.run_id,
        )
        await handle.publish_event("cancel", 1, key="k")
        await handle.publish_event("cancel", 2, key="k")

    assert sorted(events_in(database)) == [("cancel", "1", "k"), ("cancel", "null", "k")]


class Payment(msgspec.Struct):
    cents: int


paid = Event("paid", Payment)


async def test_an_event_with_a_type_is_stored_like_any_other(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        handle = await client.begin(greet, "Ada", key="Ada")
        await client.publish_event(handle.run_key, paid, Payment(1))
        await client.publish_event((greet, "Ada"), paid, Payment(2))
        await handle.publish_event(paid, Payment(3), key="k")
        await client.publish_event_tx(tx.inner, str(handle.run_key), paid, {"cents": 4})
        await client.publish_event(handle.run_key, Event("anything"), "goes")
        await tx.commit()
        await client.begin(greet, "Bob", event=(paid, Payment(5)))
    stored = {(name, payload) for name, payload, _ in events_in(database)}
    assert stored == {("anything", '"goes"'), *(("paid", f'{{"cents":{number}}}') for number in range(1, 6))}


@pytest.mark.parametrize("payload", [None, {"cents": "many"}, 3, [Payment(1)]])
async def test_a_payload_that_does_not_fit_the_type_of_its_event_is_refused(
    colour: Colour, database: str, payload: Any
) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        with pytest.raises(SerializationError, match="'paid'.* does not fit the type that the event declares"):
            await client.publish_event(handle.run_key, paid, payload)
        with pytest.raises(SerializationError):
            await client.begin(greet, "Bob", event=(paid, payload))
    assert events_in(database) == []
    assert len(rows(database, "SELECT run_id FROM durable.runs")) == 1


def test_an_event_is_a_value_with_a_name() -> None:
    assert paid == Event("paid", Payment)
    assert paid != Event("paid")
    assert len({paid, Event("paid", Payment)}) == 1
    with pytest.raises(AttributeError):
        paid.name = "other"
    for name in ("", 3, "a" * 201):
        with pytest.raises(InvalidArgument):
            Event(name)  # type: ignore[arg-type]
