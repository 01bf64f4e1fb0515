"""A client's connections, sync and async: a small pool of its own, or the caller's pool."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from durable.client.forks import know, leave
from durable.core.errors import DurableError
from durable.postgres.conninfo import check_conninfo_or_pool
from durable.postgres.drive import run, run_async, take_part, take_part_async
from durable.postgres.opening import Opening
from durable.postgres.pooling import refuse_statement_pooling
from durable.store.operation import Operation
from durable.store.queries import check_schema_name
from durable.store.sessions import is_pooled
from durable.store.statement import T

SyncPool: TypeAlias = ConnectionPool[Any]
AsyncPool: TypeAlias = AsyncConnectionPool[Any]

_MAX_CONNECTIONS = 8
_MAX_BROKEN = 2
_CONFLICT_PAUSES = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16)
"""Seconds between tries after a serialization failure or a deadlock, for databases that resolve conflicts that way."""
_OPTIONS: dict[str, Any] = {"autocommit": True, "client_encoding": "utf8"}
_OWN_POOL: dict[str, Any] = {
    "kwargs": _OPTIONS,
    "min_size": 1,
    "max_size": _MAX_CONNECTIONS,
    "open": False,
    "name": "durable",
}


_INHERITED = (
    "the pool of this client was opened before the process was forked, and belongs to the parent; "
    "make the pool and the client in each process, or give the client a conninfo"
)
_OTHER_LOOP = (
    "this client, or the pool that it was given, belongs to another event loop; "
    "make one for each event loop, or give the client a conninfo and close one loop before the next is used"
)


class _Tries:
    """Decides whether a failed operation is tried again. It may be, because an operation can be run any number of
    times."""

    def __init__(self) -> None:
        self._broken = 0
        self._pauses = iter(_CONFLICT_PAUSES)

    def is_broken(
        self, error: psycopg.OperationalError, connection: Connection[Any] | AsyncConnection[Any] | None
    ) -> bool:
        """Returns whether the connection broke. Its neighbors in the pool may then be broken too, and should be checked
        before the next try. Raises ``error`` once too many have broken, and if there was no connection at all, and
        ``DurableError`` if a pooler allows no transactions."""
        refuse_statement_pooling(error)
        if connection is None:
            raise error
        if not connection.broken:
            return False
        self._broken += 1
        if self._broken > _MAX_BROKEN:
            raise error
        return True

    def pause_after(self, error: psycopg.OperationalError) -> float:
        """Returns the seconds until the next try after a conflict. Raises ``error`` if it is not a conflict, or once
        there have been too many."""
        if not isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
            raise error
        pause = next(self._pauses, None)
        if pause is None:
            raise error
        return pause


class Connections:
    """Opens its own pool on first use, and another one in a forked process. A pool passed in by the caller is neither
    opened nor closed here."""

    def __init__(self, conninfo_or_pool: str | SyncPool, schema: str) -> None:
        self.schema = check_schema_name(schema)
        if isinstance(conninfo_or_pool, ConnectionPool):
            self._pool: SyncPool = conninfo_or_pool
            self._conninfo: str | None = None
        else:
            self._conninfo = check_conninfo_or_pool(
                conninfo_or_pool, "a Client takes a conninfo or a psycopg_pool.ConnectionPool"
            )
            self._pool = self._own_pool(self._conninfo)
        self._is_closed = False
        self._is_inherited = False
        self._begin()
        know(self)

    def _begin(self) -> None:
        self._is_open = self._conninfo is None
        self._lock = threading.Lock()
        # Waiting for results must not starve other calls: at most half of the pool's connections may listen.
        self.listeners = threading.BoundedSemaphore(max(1, self._pool.max_size // 2))
        self.may_listen = self._pool.max_size > 1

    def _own_pool(self, conninfo: str) -> SyncPool:
        return ConnectionPool(conninfo, configure=self._meet_pooler, **_OWN_POOL)

    def begin_again_in_child(self) -> None:
        """Leaves the parent's connections alone. See ``forks``."""
        if self._conninfo is None:
            self._is_inherited = not self._pool.closed
        else:
            leave(self._pool)
            self._pool = self._own_pool(self._conninfo)
        self._begin()

    @contextmanager
    def connection(self) -> Generator[Connection[Any], None, None]:
        """Yields a connection in autocommit mode. Raises ``PoolTimeout`` if none becomes available, and on the first
        use of a conninfo whatever psycopg raises when it connects."""
        with self._opened().connection() as connection:
            before = connection.autocommit
            if not before:
                connection.autocommit = True
            try:
                yield connection
            finally:
                if not before and not connection.closed:
                    connection.autocommit = before

    def run(self, operation: Operation[T]) -> T:
        """Runs an operation, each statement in a transaction of its own."""
        return self._run(operation, is_transaction=False)

    def transact(self, operation: Operation[T]) -> T:
        """Runs an operation in one transaction."""
        return self._run(operation, is_transaction=True)

    def take_part(self, tx: object, operation: Operation[T]) -> T:
        """Runs an operation in the caller's transaction, which is never ended here. Raises ``TypeError`` if ``tx`` is
        not a transaction of a supported library, and ``NotInTransaction`` if none is open on it."""
        return take_part(tx, self.schema, operation)

    def _run(self, operation: Operation[T], *, is_transaction: bool) -> T:
        tries = _Tries()
        while True:
            connection: Connection[Any] | None = None
            try:
                with self.connection() as connection:
                    return self._attempt(connection, operation, is_transaction=is_transaction)
            except psycopg.OperationalError as error:
                if tries.is_broken(error, connection):
                    self._pool.check()
                    continue
                time.sleep(tries.pause_after(error))

    def _attempt(self, connection: Connection[Any], operation: Operation[T], *, is_transaction: bool) -> T:
        if not is_transaction:
            return run(connection, self.schema, operation)
        with connection.transaction():
            return run(connection, self.schema, operation)

    def close(self) -> None:
        """Closes the client's own pool. May be called any number of times."""
        with self._lock:
            self._is_closed = True
            if self._conninfo is not None:
                self._pool.close()

    def check_open(self) -> None:
        """Raises ``DurableError`` if the client is closed."""
        if self._is_closed:
            raise DurableError("this client is closed")

    def _meet_pooler(self, connection: Connection[Any]) -> None:
        if run(connection, self.schema, is_pooled(connection.info.backend_pid)):
            connection.prepare_threshold = None  # the next transaction may run in another session
            self.may_listen = False

    def _opened(self) -> SyncPool:
        self.check_open()
        if self._is_inherited:
            raise DurableError(_INHERITED)
        if not self._is_open and self._conninfo is not None:
            with self._lock:
                if not self._is_open:
                    # A pool would keep trying for half a minute and then not say what was wrong.
                    psycopg.connect(self._conninfo, **_OPTIONS).close()
                    self._pool.open()
                    self._is_open = True
        return self._pool


class AsyncConnections:
    """The asyncio counterpart of ``Connections``."""

    def __init__(self, conninfo_or_pool: str | AsyncPool, schema: str) -> None:
        self.schema = check_schema_name(schema)
        if isinstance(conninfo_or_pool, AsyncConnectionPool):
            self._pool: AsyncPool = conninfo_or_pool
            self._conninfo: str | None = None
        else:
            self._conninfo = check_conninfo_or_pool(
                conninfo_or_pool, "an AsyncClient takes a conninfo or a psycopg_pool.AsyncConnectionPool"
            )
            self._pool = self._own_pool(self._conninfo)
        self._is_open = self._conninfo is None
        self._is_closed = False
        self._is_inherited = False
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened_here: WeakSet[AsyncConnection[Any]] = WeakSet()
        self.generation = 0
        """Raised when the client moves to another event loop."""
        know(self)

    def _own_pool(self, conninfo: str) -> AsyncPool:
        return AsyncConnectionPool(conninfo, configure=self._meet_pooler, **_OWN_POOL)

    def begin_again_in_child(self) -> None:
        """Same as ``Connections.begin_again_in_child``."""
        if self._conninfo is None:
            self._is_inherited = not self._pool.closed
        elif self._loop is not None:
            leave((self._pool, self._opened_here))
            self._begin_again(self._conninfo)
        self._loop = None

    def _begin_again(self, conninfo: str) -> None:
        self._pool = self._own_pool(conninfo)
        self._opened_here = WeakSet()
        self._is_open = False
        self._lock = asyncio.Lock()

    def settle_in_loop(self) -> None:
        """Moves to the running event loop if the one before is closed. Raises ``DurableError`` if it is not, or if the
        pool was passed in and belongs to it."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None:
            if self._conninfo is None or not self._loop.is_closed():
                raise DurableError(_OTHER_LOOP)
            for connection in self._opened_here:
                connection.pgconn.finish()  # nothing can be awaited any more in the loop of its pool
            self._begin_again(self._conninfo)
        self._loop = loop
        self.generation += 1

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection[Any], None]:
        """Same as ``Connections.connection``."""
        pool = await self._opened()
        async with pool.connection() as connection:
            before = connection.autocommit
            if not before:
                await connection.set_autocommit(True)
            try:
                yield connection
            finally:
                if not before and not connection.closed:
                    await connection.set_autocommit(before)

    async def connect(self) -> AsyncConnection[Any]:
        """Opens a connection outside the pool, in autocommit mode, for the caller to close."""
        return await Opening(await self._opened()).open()

    async def run(self, operation: Operation[T]) -> T:
        """Same as ``Connections.run``."""
        return await self._run(operation, is_transaction=False)

    async def transact(self, operation: Operation[T]) -> T:
        """Same as ``Connections.transact``."""
        return await self._run(operation, is_transaction=True)

    async def take_part(self, tx: object, operation: Operation[T]) -> T:
        """Same as ``Connections.take_part``."""
        return await take_part_async(tx, self.schema, operation)

    async def _run(self, operation: Operation[T], *, is_transaction: bool) -> T:
        tries = _Tries()
        while True:
            connection: AsyncConnection[Any] | None = None
            try:
                async with self.connection() as connection:
                    return await self._attempt(connection, operation, is_transaction=is_transaction)
            except psycopg.OperationalError as error:
                if tries.is_broken(error, connection):
                    await self._pool.check()
                    continue
                await asyncio.sleep(tries.pause_after(error))

    async def _attempt(self, connection: AsyncConnection[Any], operation: Operation[T], *, is_transaction: bool) -> T:
        if not is_transaction:
            return await run_async(connection, self.schema, operation)
        async with connection.transaction():
            return await run_async(connection, self.schema, operation)

    async def close(self) -> None:
        """Same as ``Connections.close``."""
        self._is_closed = True
        if self._conninfo is not None and self._loop is asyncio.get_running_loop():
            await self._pool.close()

    def check_open(self) -> None:
        """Same as ``Connections.check_open``."""
        if self._is_closed:
            raise DurableError("this client is closed")

    async def _meet_pooler(self, connection: AsyncConnection[Any]) -> None:
        self._opened_here.add(connection)
        if await run_async(connection, self.schema, is_pooled(connection.info.backend_pid)):
            connection.prepare_threshold = None

    async def _opened(self) -> AsyncPool:
        self.check_open()
        if self._is_inherited:
            raise DurableError(_INHERITED)
        self.settle_in_loop()
        if not self._is_open and self._conninfo is not None:
            async with self._lock:
                if not self._is_open:
                    await (await AsyncConnection.connect(self._conninfo, **_OPTIONS)).close()
                    await self._pool.open()
                    self._is_open = True
        return self._pool
