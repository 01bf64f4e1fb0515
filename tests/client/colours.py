"""One suite for both colours: the sync client runs in a thread, so that every test is written once, with await."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import psycopg

from durable.client.async_client import AsyncClient
from durable.client.client import Client
from durable.client.handles import AsyncHandle, AsyncKeyHandle, Handle, KeyHandle
from durable.client.request_handles import AsyncRequestHandle, RequestHandle

Colour = Literal["sync", "async"]

_threads = ThreadPoolExecutor(max_workers=64)


class Awaitable:
    """A sync object whose methods are awaited; attributes stay as they are."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not callable(value):
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            result = await asyncio.get_running_loop().run_in_executor(_threads, partial(value, *args, **kwargs))
            return Awaitable(result) if isinstance(result, Handle | KeyHandle | RequestHandle) else result

        return call


class AsyncAwaitable(Awaitable):
    """An async object; what is not awaited there is awaited here."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not callable(value):
            return value

        async def call(*args: Any, **kwargs: Any) -> Any:
            result = value(*args, **kwargs)
            if asyncio.iscoroutine(result):
                result = await result
            return (
                AsyncAwaitable(result)
                if isinstance(result, AsyncHandle | AsyncKeyHandle | AsyncRequestHandle)
                else result
            )

        return call


@asynccontextmanager
async def open_client(colour: Colour, conninfo: Any, **options: Any) -> AsyncIterator[Any]:
    if colour == "async":
        async with AsyncClient(conninfo, **options) as client:
            yield AsyncAwaitable(client)
    else:
        with Client(conninfo, **options) as client:
            yield Awaitable(client)


@asynccontextmanager
async def open_transaction(colour: Colour, conninfo: str) -> AsyncIterator[Any]:
    """A connection of that colour, its methods awaited; ``.inner`` is what a client is given."""
    if colour == "async":
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            yield AsyncAwaitable(connection)
    else:
        with psycopg.connect(conninfo) as connection:
            yield Awaitable(connection)


def rows(conninfo: str, query: str, *params: Any) -> list[Any]:
    """Looks past the client."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), params)
        return cursor.fetchall() if cursor.description else []


def finish(conninfo: str, run_id: str, output: str = '"done"', schema: str = "durable") -> None:
    """What a worker writes and announces when a run completes."""
    from durable.store.channels import done_channel

    rows(
        conninfo,
        f"UPDATE \"{schema}\".runs SET status = 'completed', output = %s::json, completed_at = now(), "
        "worker_id = NULL, next_wake_at = NULL WHERE run_id = %s",
        output,
        run_id,
    )
    rows(conninfo, "SELECT pg_notify(%s, %s)", done_channel(schema), f"0,{run_id}")
