"""Making requests, and waiting for their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from durable.client import results
from durable.core.errors import (
    InvalidArgument,
    RequestNotFound,
    RequestRefused,
    RequestTimeout,
    RunEnded,
    RunNotFound,
)
from durable.core.runs import RunKey
from durable.store.channels import done_channel, work_channel
from tests.client.colours import Colour, open_client, open_transaction, rows
from tests.client.workflows import greet

NOWHERE = RunKey("greet_0", "01920000-0000-7000-8000-000000000000")
ANSWER = (
    "UPDATE durable.events SET reply = %s, refused = %s, replied_at = now(), consumed_by = 'ask', routed_at = now()"
    " WHERE kind = 'request'"
)


def stored(database: str) -> list[Any]:
    return rows(database, "SELECT kind, name, payload::text, key IS NOT NULL FROM durable.events ORDER BY event_id")


async def until_asked(database: str) -> None:
    while not rows(database, "SELECT 1 FROM durable.events"):
        await asyncio.sleep(0.005)


async def test_an_answer_that_is_announced_is_there_at_once(
    colour: Colour, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_FIRST_PAUSE", 60.0)
    monkeypatch.setattr(results, "_MAX_PAUSE", 60.0)
    async with open_client(colour, database) as client:
        run_key = (await client.begin(greet, "Ada")).run_key
        asking = asyncio.create_task(client.request(run_key, "add", [1], type=int, key="k", timeout=20))
        await until_asked(database)
        ((request_id,),) = rows(database, "SELECT event_id::text FROM durable.events")
        rows(database, ANSWER, "7", False)
        while not asking.done():  # until the client listens
            rows(database, f"SELECT pg_notify('{done_channel('durable')}', %s)", request_id)
            await asyncio.sleep(0.01)
        assert await asking == 7
    assert stored(database) == [("request", "add", "[1]", True)]


async def test_the_end_of_the_run_is_found_by_asking(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        run_key = (await client.begin(greet, "Ada")).run_key
        asking = asyncio.create_task(client.request(run_key, "add", timeout=20))
        await until_asked(database)
        rows(database, "UPDATE durable.runs SET status = 'completed', output = '1', completed_at = now()")
        with pytest.raises(RunEnded, match="completed"):
            await asking


async def test_a_refusal_and_a_timeout_say_what_happened(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        with pytest.raises(RequestTimeout, match="within 0 s: its status is 'queued'") as late:
            await handle.request("add", timeout=0)
        rows(database, ANSWER, '"full"', True)
        with pytest.raises(RequestRefused, match="full"):
            await handle.request("add", key=late.value.key, timeout=0)
        rows(database, "UPDATE durable.events SET reply = '1'")  # as somebody might by hand
        with pytest.raises(RequestRefused, match="no reason was given"):
            await handle.request("add", key=late.value.key, timeout=0)


async def test_no_run_or_an_ended_one_is_asked_nothing(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        run_key = (await client.begin(greet, "Ada")).run_key
        rows(database, "UPDATE durable.runs SET status = 'failed', error = '{}', completed_at = now()")
        with pytest.raises(RunEnded, match="failed"):
            await client.request(run_key, "add")
        with pytest.raises(RunNotFound):
            await client.request(NOWHERE, "add")
        with pytest.raises(RunNotFound):
            await client.request((greet, "no such key"), "add")
        with pytest.raises(RunEnded):
            await client.request_tx(tx.inner, run_key, "add")
        await client.begin_tx(tx.inner, greet, "Bob")  # the transaction goes on
        await tx.commit()
    assert stored(database) == []


async def test_a_transaction_that_is_rolled_back_has_asked_nothing(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        handle = await client.begin(greet, "Ada")
        made = await client.request_tx(tx.inner, handle.run_key, "add", 1, type=int)
        await tx.rollback()
        with pytest.raises(RequestNotFound, match="was never committed"):
            await made.reply(timeout=5)
        made = await client.request_tx(tx.inner, handle.run_key, "add", 1, type=int)
        again = await client.request_tx(tx.inner, handle.run_key, "add", 2, type=int, key=made.key)
        await tx.commit()
        assert (made.name, made.key, made.run_key) == (again.name, again.key, handle.run_key)
        rows(database, ANSWER, "7", False)
        assert await made.reply(timeout=5) == await again.reply() == 7
    assert stored(database) == [("request", "add", "1", True)]


async def test_a_request_that_is_there_already_is_announced_again(colour: Colour, database: str) -> None:
    """Whoever made it may have died before it announced it."""
    async with open_client(colour, database, notify=False) as silent, open_client(colour, database) as client:
        run_key = (await silent.begin(greet, "Ada")).run_key
        with pytest.raises(RequestTimeout):
            await silent.request(run_key, "add", key="k", timeout=0)
        with psycopg.connect(database, autocommit=True) as listener:
            listener.execute(f"LISTEN {work_channel('durable')}")
            with pytest.raises(RequestTimeout):
                await client.request(run_key, "add", key="k", timeout=0)
            listener.execute("SELECT 1")
            assert [notice.payload for notice in listener.notifies(timeout=5, stop_after=1)] == ["event:greet_0"]
    assert len(stored(database)) == 1


async def test_an_answer_is_found_by_polling_alone(
    colour: Colour, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_client(colour, database) as client:
        monkeypatch.setattr(client.inner._connections, "listeners", None, raising=False)
        monkeypatch.setattr(type(client.inner._connections), "may_listen", property(lambda _: False), raising=False)
        run_key = (await client.begin(greet, "Ada")).run_key
        asking = asyncio.create_task(client.request(run_key, "add", timeout=20))
        await until_asked(database)
        rows(database, ANSWER, "[7]", False)
        assert await asking == [7]


@pytest.fixture
def bad() -> Iterator[list[dict[str, Any]]]:
    yield [
        {"name": ""},
        {"name": 1},
        {"key": "nul\0"},
        {"timeout": -1},
        {"timeout": True},
        {"run_key": "nobody"},
        {"run_key": (greet, "")},
    ]


async def test_a_bad_argument_is_refused_before_anything_is_stored(
    colour: Colour, database: str, bad: list[dict[str, Any]]
) -> None:
    async with open_client(colour, database) as client:
        good = {"run_key": (await client.begin(greet, "Ada")).run_key, "name": "add"}
        for arguments in bad:
            with pytest.raises(InvalidArgument):
                await client.request(**{**good, **arguments})
    assert stored(database) == []
