"""How connections are opened: each in the way in which the caller's pool opens its own.

A pool may name its database and its arguments by functions, because passwords expire, and it may have a class of
connections of its own. The functions are called for each new connection, and in the event loop in which they were
given: what they await belongs to that loop, although a worker also opens connections in another.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from durable.core.errors import DurableError

Pool: TypeAlias = AsyncConnectionPool[AsyncConnection[Any]]

_CONNECT_SECONDS = 3
"""The default of ``connect_timeout``; libpq's own default is to wait forever."""
_OURS: dict[str, Any] = {
    "autocommit": True,
    "client_encoding": "utf8",  # what is set for a role or a database may lack characters
    "context": None,  # how a pool reads types is meant for its own users
}


class Opening:
    """Opens connections as the pool does, or to a database given by a connection string. Only whether they are in a
    transaction, in which encoding they are, and how they read types is ours."""

    def __init__(self, conninfo_or_pool: str | Pool) -> None:
        pool = conninfo_or_pool if isinstance(conninfo_or_pool, AsyncConnectionPool) else None
        self._conninfo: object = conninfo_or_pool if pool is None else pool.conninfo
        self._arguments: object = None if pool is None else pool.kwargs
        self._class = AsyncConnection[Any] if pool is None else pool.connection_class
        self._loop = asyncio.get_running_loop()
        _check_loop(self._loop)

    async def open(self, **options: Any) -> AsyncConnection[Any]:
        """Opens a connection, for the caller to close."""
        conninfo, arguments = await self.conninfo(), await self.arguments()
        return await self._class.connect(conninfo, **{**arguments, **options})

    def pool(self, size: int, configure: Callable[[AsyncConnection[Any]], Awaitable[None]], patience: float) -> Pool:
        """Returns a pool of at most that many connections, not yet open. It waits for a connection, and tries to
        reconnect, for ``patience`` seconds."""
        return AsyncConnectionPool(
            self.conninfo,
            kwargs=self.arguments,
            connection_class=self._class,
            min_size=1,
            max_size=size,
            open=False,
            timeout=patience,
            reconnect_timeout=patience,
            configure=configure,
        )

    async def conninfo(self) -> str:
        """Returns the connection string for the next connection."""
        conninfo = str(await self._value(self._conninfo) or "")
        if "PGCONNECT_TIMEOUT" in os.environ or "connect_timeout" in conninfo_to_dict(conninfo):
            return conninfo
        return make_conninfo(conninfo, connect_timeout=_CONNECT_SECONDS)

    async def arguments(self) -> dict[str, Any]:
        """Returns the keyword arguments for the next connection."""
        given = cast(dict[str, Any], await self._value(self._arguments) or {})
        return {**given, **_OURS}

    async def _value(self, given: object) -> object:
        if not callable(given):
            return given
        found: object = given()
        if not inspect.isawaitable(found):
            return found
        if asyncio.get_running_loop() is self._loop:
            return await found
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(found), self._loop))


def _check_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raises ``DurableError`` for the usual event loop of Windows, on which psycopg cannot connect. Its own error would
    look like an outage, and be waited out."""
    # By its name, because the class exists only there.
    if any(base.__name__ == "ProactorEventLoop" for base in type(loop).__mro__):
        raise DurableError(
            "durable does not run on a ProactorEventLoop, the default of Windows, because psycopg cannot connect on "
            "it; use asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)"
        )


async def _awaited(given: Awaitable[object]) -> object:
    return await given
