"""Waiting for results; the worker is played by SQL."""

from __future__ import annotations

import asyncio
import time

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from durable.client import results as outcomes
from durable.client.async_client import AsyncClient
from durable.core.errors import (
    DeserializationError,
    DurableError,
    InvalidArgument,
    ResultTimeout,
    RunCancelled,
    RunFailed,
    RunNotFound,
)
from durable.store.channels import done_channel
from tests.client.colours import Colour, finish, open_client, rows
from tests.client.workflows import Order, Receipt, checkout, greet

NOWHERE = "greet_0:01920000-0000-7000-8000-000000000000"


async def test_a_notification_brings_the_result_at_once(
    colour: Colour, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Were it found by asking, it would take this long.
    monkeypatch.setattr(outcomes, "_FIRST_PAUSE", 20.0)
    monkeypatch.setattr(outcomes, "_MAX_PAUSE", 20.0)
    async with open_client(colour, database) as client:
        handle = await client.begin(checkout, Order(1))
        waiting = asyncio.create_task(handle.result(timeout=30))
        await asyncio.sleep(0.3)
        started = time.monotonic()
        finish(database, handle.run_key.run_id, '{"total": 9}')

        assert await waiting == Receipt(9.0)
        assert time.monotonic() - started < 1


async def test_a_result_without_a_notification_is_found_by_asking(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        waiting = asyncio.create_task(handle.result(timeout=30))
        await asyncio.sleep(0.1)
        rows(database, "UPDATE durable.runs SET status = 'completed', output = '\"hi\"', completed_at = now()")

        assert await asyncio.wait_for(waiting, 3) == "hi"


async def test_a_result_that_is_there_is_returned_even_without_time(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        finish(database, handle.run_key.run_id)

        assert await handle.result(timeout=0) == "done"
        assert await handle.result() == "done"


async def test_a_timeout_names_the_status_and_the_run_goes_on(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        for timeout in (0, 0.2):
            with pytest.raises(ResultTimeout, match="queued") as caught:
                await handle.result(timeout=timeout)
            assert (caught.value.timeout, caught.value.run_key) == (timeout, handle.run_key)
            assert isinstance(caught.value, TimeoutError)
        with pytest.raises(InvalidArgument):
            await handle.result(timeout=-1)


async def test_the_ways_to_end_otherwise(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        failed, cancelled, unreadable = [await client.begin(greet, str(n)) for n in range(3)]
        rows(
            database,
            "UPDATE durable.runs SET status = 'failed', completed_at = now(),"
            ' error = \'{"type": "ValueError", "message": "no", "traceback": "tb"}\' WHERE run_id = %s',
            failed.run_key.run_id,
        )
        rows(
            database,
            "UPDATE durable.runs SET status = 'cancelled', completed_at = now(),"
            ' error = \'{"type": "E", "message": "an earlier attempt"}\' WHERE run_id = %s',
            cancelled.run_key.run_id,
        )
        finish(database, unreadable.run_key.run_id, "5")

        with pytest.raises(RunFailed, match="ValueError: no") as caught:
            await failed.result()
        assert caught.value.error.traceback == "tb"
        with pytest.raises(RunCancelled):
            await cancelled.result()
        with pytest.raises(DeserializationError):
            await unreadable.result()
        with pytest.raises(RunNotFound):
            await (await client.handle(NOWHERE, greet)).result()


async def test_a_lost_connection_does_not_end_the_wait(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        waiting = asyncio.create_task(handle.result(timeout=30))
        await asyncio.sleep(0.2)
        rows(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        await asyncio.sleep(0.2)
        assert not waiting.done()
        finish(database, handle.run_key.run_id)

        assert await asyncio.wait_for(waiting, 10) == "done"


async def test_more_waiters_than_connections_leave_some_for_others(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handles = [await client.begin(greet, str(n)) for n in range(16)]
        waiting = [asyncio.create_task(handle.result(timeout=30)) for handle in handles]
        await asyncio.sleep(0.3)
        last = await asyncio.wait_for(client.begin(greet, "last"), 5)
        for handle in [*handles, last]:
            finish(database, handle.run_key.run_id, f'"{handle.run_key.run_id}"')

        assert await asyncio.wait_for(asyncio.gather(*waiting), 10) == [handle.run_key.run_id for handle in handles]


async def test_a_pool_of_one_connection_will_do(colour: Colour, database: str) -> None:
    async def wait(pool: object) -> None:
        async with open_client(colour, pool) as client:
            handle = await client.begin(greet, "Ada")
            waiting = asyncio.create_task(handle.result(timeout=30))
            await asyncio.sleep(0.2)
            await handle.publish_event("still", "possible")
            finish(database, handle.run_key.run_id)
            assert await asyncio.wait_for(waiting, 5) == "done"

    if colour == "async":
        async with AsyncConnectionPool(database, min_size=1, max_size=1, open=False) as pool:
            await wait(pool)
            assert not pool.closed
    else:
        with ConnectionPool(database, min_size=1, max_size=1, open=False) as sync_pool:
            await wait(sync_pool)
            assert not sync_pool.closed


async def test_a_pooled_connection_is_given_back_as_it_was(database: str) -> None:
    with ConnectionPool(database, min_size=1, max_size=2, open=False) as pool:
        async with open_client("sync", pool) as client:
            handle = await client.begin(greet, "Ada")
            with pytest.raises(ResultTimeout):
                await handle.result(timeout=0.1)
        with pool.connection() as connection:
            assert not connection.autocommit
            assert connection.execute("SELECT * FROM pg_listening_channels()").fetchall() == []


async def test_a_thousand_awaited_results_share_one_listening_connection(database: str) -> None:
    async with AsyncClient(database) as client:
        run_keys = await client.begin_many(greet, map(str, range(1000)))
        waiting = [asyncio.create_task(client.handle(run_key, greet).result(timeout=30)) for run_key in run_keys]
        await asyncio.sleep(1)
        connections = rows(
            database,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND application_name <> 'fixture'",
        )
        rows(database, "UPDATE durable.runs SET status = 'completed', output = input, completed_at = now()")
        for first in range(0, 1000, 100):
            ids = ",".join(run_key.run_id for run_key in run_keys[first : first + 100])
            rows(database, "SELECT pg_notify(%s, %s)", done_channel("durable"), ids)

        assert await asyncio.wait_for(asyncio.gather(*waiting), 10) == [str(n) for n in range(1000)]
    assert connections[0][0] <= 3


async def test_closing_the_client_ends_the_waits(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        waiting = asyncio.create_task(handle.result(timeout=30))
        await asyncio.sleep(0.1)
        await client.close()

        with pytest.raises(DurableError, match="closed"):
            await asyncio.wait_for(waiting, 3)
        with pytest.raises(DurableError, match="closed"):
            await client.begin(greet, "Bob")
        await client.close()


async def test_cancelling_a_wait_leaves_nothing_behind(database: str) -> None:
    async with AsyncClient(database) as client:
        handle = await client.begin(greet, "Ada")
        waiting = [asyncio.create_task(handle.result(timeout=30)) for _ in range(3)]
        await asyncio.sleep(0.1)
        waiting[0].cancel()
        await asyncio.sleep(0.1)
        finish(database, handle.run_key.run_id)

        assert await asyncio.gather(*waiting[1:]) == ["done", "done"]
        assert client._results._waiters == {}
        assert client._results._urgent == set()


async def test_listening_may_be_impossible(colour: Colour, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "done_channel", lambda schema: "somewhere_else")
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        waiting = asyncio.create_task(handle.result(timeout=30))
        await asyncio.sleep(0.1)
        finish(database, handle.run_key.run_id)

        assert await asyncio.wait_for(waiting, 3) == "done"


def test_the_loop_of_a_forgotten_client_closes_without_a_sound(database: str) -> None:
    async def main() -> None:
        client = AsyncClient(database)
        handle = await client.begin(greet, "Ada")
        with pytest.raises(ResultTimeout):
            await handle.result(timeout=0.1)
        await client._connections.close()

    asyncio.run(main())
    assert psycopg.connect(database).close() is None
