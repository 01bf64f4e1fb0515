"""What a client makes of its connection string, its pool and its schema."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from durable.admin.migration import migrate
from durable.client.async_client import AsyncClient
from durable.client.client import Client
from durable.client.handles import AsyncHandle, Handle
from durable.core.codec.json_codec import JsonCodec
from durable.core.errors import InvalidArgument, SchemaError
from tests.client.colours import Colour, finish, open_client, open_transaction, rows
from tests.client.workflows import greet

NOWHERE = "greet_0:01920000-0000-7000-8000-000000000000"


def kill_others(database: str) -> None:
    rows(
        database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


async def test_a_client_survives_the_loss_of_all_its_connections(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        for number in range(3):
            kill_others(database)
            assert (await client.begin(greet, "Bob", key=str(number))).is_new
            kill_others(database)
            await client.begin_many(greet, ["Cy", "Di"])
            kill_others(database)
            await client.publish_event(handle.run_key, "n", number)
            kill_others(database)
            assert (await client.get_run_info(handle.run_key)).status == "queued"

    assert rows(database, "SELECT count(*) FROM durable.runs") == [(1 + 3 * 3,)]
    assert rows(database, "SELECT payload::text FROM durable.events ORDER BY created_at") == [("0",), ("1",), ("2",)]


async def test_a_given_pool_is_used_as_it_is_and_stays_open(colour: Colour, database: str) -> None:
    if colour == "async":
        async with AsyncConnectionPool(database, min_size=1, open=False) as pool:
            async with open_client(colour, pool) as client:
                handle = await client.begin(greet, "Ada")
                await client.begin_many(greet, ["Bob"])
                finish(database, handle.run_key.run_id)
                assert await handle.result(timeout=5) == "done"
            async with pool.connection() as connection:
                assert not connection.autocommit
    else:
        with ConnectionPool(database, min_size=1, open=False) as sync_pool:
            async with open_client(colour, sync_pool) as client:
                handle = await client.begin(greet, "Ada")
                await client.begin_many(greet, ["Bob"])
                finish(database, handle.run_key.run_id)
                assert await handle.result(timeout=5) == "done"
            with sync_pool.connection() as sync_connection:
                assert not sync_connection.autocommit

    assert rows(database, "SELECT count(*) FROM durable.runs") == [(2,)]


async def test_a_pool_may_name_its_database_by_a_function(database: str) -> None:
    async def conninfo() -> str:
        return database

    async with AsyncConnectionPool(conninfo, min_size=1, open=False) as pool, AsyncClient(pool) as client:
        handle = await client.begin(greet, "Ada")
        finish(database, handle.run_key.run_id)
        assert await handle.result(timeout=5) == "done"


async def test_a_database_that_is_not_there_is_reported_at_once(colour: Colour, database: str) -> None:
    async with open_client(colour, make_conninfo(database, dbname="no_such_database")) as client:
        with pytest.raises(psycopg.OperationalError, match="no_such_database"):
            await client.begin(greet, "Ada")


def test_what_is_no_connection_string_is_refused_without_repeating_it(database: str) -> None:
    for cls in (Client, AsyncClient):
        with pytest.raises(InvalidArgument) as caught:
            cls("password=geheim and more")
        assert "geheim" not in str(caught.value)
        with pytest.raises(TypeError, match=r"ConnectionPool, not a builtins\.int"):
            cls(5)  # type: ignore[arg-type]
        for name in ("", "a b", 'x"; DROP SCHEMA durable; --', "pg_mine", "9a", "a" * 64, "ä"):
            with pytest.raises(InvalidArgument):
                cls(database, schema=name)
    with pytest.raises(TypeError, match="a Client takes"):
        Client(AsyncConnectionPool(database, open=False))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an AsyncClient takes"):
        AsyncClient(ConnectionPool(database, open=False))  # type: ignore[arg-type]


async def test_a_missing_schema_is_named_with_its_cure(colour: Colour, database: str) -> None:
    async with (
        open_client(colour, database, schema="elsewhere") as client,
        open_client(colour, database) as right,
        open_transaction(colour, database) as tx,
    ):
        with pytest.raises(SchemaError, match="durable migrate --schema elsewhere"):
            await client.begin(greet, "Ada")
        with pytest.raises(SchemaError):
            await client.begin_many(greet, ["Ada"])
        with pytest.raises(SchemaError):
            await client.begin_tx(tx.inner, greet, "Ada")
        await right.begin_tx(tx.inner, greet, "the caller's transaction is still good")
        await tx.commit()


@pytest.mark.parametrize(
    "look",
    [
        lambda client: client.publish_event(NOWHERE, "paid"),
        lambda client: client.get_run_info(NOWHERE),
        lambda client: client.get_run_output(NOWHERE),
        lambda client: client.list_runs(),
    ],
    ids=["publish_event", "get_run_info", "get_run_output", "list_runs"],
)
async def test_a_missing_schema_is_named_whatever_is_asked_first(
    colour: Colour, bare_database: str, look: Callable[[Any], Awaitable[Any]]
) -> None:
    async with open_client(colour, bare_database) as client:
        with pytest.raises(SchemaError, match="durable migrate"):
            await look(client)


async def test_an_older_schema_is_refused_and_a_newer_one_is_not(colour: Colour, database: str) -> None:
    rows(database, "UPDATE durable.settings SET schema_version = schema_version + 1")
    async with open_client(colour, database) as client:
        await client.begin(greet, "Ada")
    rows(database, "UPDATE durable.settings SET schema_version = 0")
    async with open_client(colour, database) as client:
        with pytest.raises(SchemaError, match=r"version 0.*durable migrate"):
            await client.begin(greet, "Ada")


async def test_a_schema_with_capitals_works_throughout(colour: Colour, bare_database: str) -> None:
    schema = "Billing_2"
    migrate(bare_database, schema=schema)
    async with (
        open_client(colour, bare_database, schema=schema) as client,
        open_transaction(colour, bare_database) as tx,
    ):
        handle = await client.begin(greet, "Ada", delay=5)
        await client.begin_tx(tx.inner, greet, "Bob")
        await tx.commit()
        await client.begin_many(greet, ["Cy"])
        await handle.publish_event("paid", key="k")
        assert (await handle.info()).status == "sleeping"
        assert len(await client.list_runs()) == 3
        finish(bare_database, handle.run_key.run_id, schema=schema)
        assert await handle.result(timeout=5) == "done"
        assert await client.get_run_output(handle.run_key) == "done"


async def test_a_codec_of_ones_own_writes_what_is_stored(colour: Colour, database: str) -> None:
    class Wrapped(JsonCodec):
        def encode(self, value: object, what: str) -> str:
            return f'{{"wrapped": {super().encode(value, what)}}}'

        def decode(self, text: str, type: Any, what: str) -> Any:
            return super().decode(text.removeprefix('{"wrapped": ').removesuffix("}"), type, what)

    async with open_client(colour, database, codec=Wrapped()) as client:
        handle = await client.begin(greet, "Ada")
        finish(database, handle.run_key.run_id, '{"wrapped": "Bob"}')
        assert await handle.result(timeout=5) == "Bob"

    assert rows(database, "SELECT input::text FROM durable.runs") == [('{"wrapped": "Ada"}',)]


@pytest.mark.parametrize(("sync", "asynchronous"), [(Client, AsyncClient), (Handle, AsyncHandle)])
def test_both_colours_have_the_same_methods_and_signatures(sync: type, asynchronous: type) -> None:
    def surface(cls: type) -> dict[str, list[object]]:
        return {
            name: _described(inspect.signature(member))
            for name, member in vars(cls).items()
            if callable(member) and not name.startswith("_")
        }

    assert surface(sync) == surface(asynchronous)
    assert surface(sync)


def _described(signature: inspect.Signature) -> list[object]:
    described: list[object] = [
        (parameter.name, parameter.kind, parameter.default, _uncoloured(parameter.annotation))
        for parameter in signature.parameters.values()
    ]
    return [*described, _uncoloured(signature.return_annotation)]


def _uncoloured(annotation: object) -> str:
    return str(annotation).replace("Async", "").replace("Sync", "")
