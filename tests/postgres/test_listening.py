"""What arrives on a listening connection, whatever the connection is doing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from durable.postgres.connection import EngineConnection
from durable.postgres.listening import Channels, listen
from tests.watching import rows, until


@asynccontextmanager
async def listening(dsn: str, channels: Channels, heard: list[str], heartbeat: float = 15.0) -> AsyncIterator[None]:
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    caught_up = asyncio.Event()
    task = asyncio.create_task(
        listen(
            EngineConnection(connection, "durable"),
            channels,
            caught_up=caught_up.set,
            notified=heard.append,
            heartbeat=heartbeat,
            patience=5,
        )
    )
    try:
        await caught_up.wait()
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await connection.close()


async def test_each_notification_is_heard_once_and_in_order_between_heartbeats(database: str) -> None:
    heard: list[str] = []
    async with (
        listening(database, Channels(["news"]), heard, heartbeat=0.001),
        await psycopg.AsyncConnection.connect(database, autocommit=True) as speaker,
    ):
        for number in range(300):
            await speaker.execute("SELECT pg_notify('news', %s)", (str(number),))
            if number % 10 == 0:
                await asyncio.sleep(0.005)
        await until(lambda: len(heard) >= 300)
    assert heard == [str(number) for number in range(300)]


async def test_channels_change_while_the_connection_listens(database: str) -> None:
    heard: list[str] = []
    gained: list[frozenset[str]] = []
    channels = Channels(["one", "two"], gained.append)
    async with listening(database, channels, heard):
        channels.want(["two", "three"])
        await until(lambda: gained)
        for channel in ("one", "two", "three"):
            await rows(database, "SELECT pg_notify(%s, %s)", channel, channel)
        await until(lambda: len(heard) >= 2)
        channels.want(["two"])
        channels.want(["two", "four"])
        await until(lambda: len(gained) == 2)
        await rows(database, "SELECT pg_notify('four', 'four')")
        await until(lambda: len(heard) >= 3)
    assert heard == ["two", "three", "four"]
    assert gained == [frozenset({"three"}), frozenset({"four"})]


async def test_a_broken_connection_ends_the_listening(database: str) -> None:
    connection = await psycopg.AsyncConnection.connect(database, autocommit=True)
    caught_up = asyncio.Event()
    task = asyncio.create_task(
        listen(
            EngineConnection(connection, "durable"),
            Channels(["news"]),
            caught_up=caught_up.set,
            notified=print,
            heartbeat=15,
            patience=5,
        )
    )
    await caught_up.wait()
    await rows(database, "SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
    with pytest.raises(psycopg.OperationalError):
        await asyncio.wait_for(task, 10)
    await connection.close()


async def test_an_error_of_whoever_is_notified_ends_the_listening(database: str) -> None:
    def broken(payload: str) -> None:
        raise ZeroDivisionError(payload)

    connection = await psycopg.AsyncConnection.connect(database, autocommit=True)
    caught_up = asyncio.Event()
    task = asyncio.create_task(
        listen(
            EngineConnection(connection, "durable"),
            Channels(["news"]),
            caught_up=caught_up.set,
            notified=broken,
            heartbeat=15,
            patience=5,
        )
    )
    await caught_up.wait()
    await rows(database, "SELECT pg_notify('news', 'it')")
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(task, 10)
    await connection.close()
