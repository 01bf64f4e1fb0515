"""A worker's connections: a few for the engine's own statements, others for the transaction steps of users."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from durable.postgres.connection import EngineConnection
from durable.postgres.silence import Watch, answering
from durable.store.operation import Operation
from durable.store.sessions import is_pooled, share_lock
from durable.store.statement import T

Pool: TypeAlias = AsyncConnectionPool[AsyncConnection[Any]]

_ENGINE_CONNECTIONS = 4
_TRANSACTION_CONNECTIONS = 10
_RECONNECT_SECONDS = 2.0
"""How long one attempt to reconnect may take; the next statement starts the next attempt."""
_RENEW_SECONDS = 0.5
_CLOSE_SECONDS = 0.5
_CONNECT_SECONDS = 3
"""The default of ``connect_timeout``; libpq's own default is to wait forever."""

_LOCK_LIMIT: LiteralString = "lock_timeout = '1s'"
"""How long a statement of the engine waits for a lock. Whoever may insert a row can keep a transaction open for any
time, and a few statements that wait for it without a limit would hold all of the engine's connections. Locks of the
engine itself last for milliseconds."""
_LIMITS_OF_TRANSACTION: Sequence[LiteralString] = (f"SET LOCAL {_LOCK_LIMIT}",)
_LIMITS_ON_CITUS: Sequence[LiteralString] = (
    "SET LOCAL citus.propagate_set_commands = 'local'",  # or the nodes, which have the rows, would not know the limit
    *_LIMITS_OF_TRANSACTION,
)

PLANS = """
    SELECT pg_catalog.set_config('plan_cache_mode', CASE WHEN EXISTS (
        SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'
    ) THEN 'force_custom_plan' ELSE 'force_generic_plan' END, false);
    SET enable_seqscan = off; SET enable_mergejoin = off; SET enable_nestloop = off; SET jit = off"""
"""Each of the engine's statements is best planned once and for all, with an index and hash joins, whatever the
statistics say and however many runs it concerns. Left to itself, the planner takes half the time of a small statement,
and a plan that it chose while the tables were small scans a whole shard value once they have grown, or joins 500 ids by
250,000 comparisons. JIT would be used for statements that can only be joined in a disabled way, since those seem
expensive. Citus has to know the shard value before it can plan anything but the simplest statements."""


class Database:
    """The connections of one worker to one schema. They open lazily, so that a worker can start before its database
    does."""

    def __init__(self, conninfo_or_pool: str | Pool, schema: str) -> None:
        self.schema = schema
        if not isinstance(conninfo_or_pool, AsyncConnectionPool):
            self.conninfo = conninfo_or_pool
            self._options: dict[str, Any] = _bounded(self.conninfo, {})
            self._transactions = _pool(self.conninfo, self._options, _TRANSACTION_CONNECTIONS, self._meet_pooler)
            self._owns_transactions = True
        else:
            self.conninfo = str(conninfo_or_pool.conninfo)
            options = conninfo_or_pool.kwargs
            self._options = _bounded(self.conninfo, {**options} if isinstance(options, Mapping) else {})
            self._transactions = conninfo_or_pool
            self._owns_transactions = False
        self._engine = _pool(self.conninfo, self.connect_options, _ENGINE_CONNECTIONS, self._prepare)
        self._own_pools = [self._engine, self._transactions] if self._owns_transactions else [self._engine]
        self.lock_key = secrets.randbits(63)
        """The key of this worker's session locks. The lease holds the lock on the key as one number; all other
        connections share the lock on the key as two numbers."""
        self._watch = Watch(self.ask, self._renew)
        self._is_distributed = False
        self._renewals: set[asyncio.Task[None]] = set()
        self._renewed_at = float("-inf")

    @property
    def connect_options(self) -> dict[str, Any]:
        """Keyword arguments for connections opened outside the pools."""
        return {**self._options, "autocommit": True}

    async def connect(self) -> EngineConnection:
        """Opens a connection outside the pools, for the caller to close. It prepares no statements, so that it also
        works behind a transaction pooler."""
        options: dict[str, Any] = {**self.connect_options, "prepare_threshold": None}
        connection = await AsyncConnection.connect(self.conninfo, **options)
        try:
            with answering(connection, _CONNECT_SECONDS):
                engine = EngineConnection(connection, self.schema)
                if self._is_distributed or await engine.run(is_pooled(connection.info.backend_pid)):
                    return EngineConnection(connection, self.schema, self._limits_of_transaction)
                await connection.execute(f"SET {_LOCK_LIMIT}")
                return engine
        except BaseException:
            await connection.close()
            raise

    async def ask(self, operation: Operation[T]) -> T:
        """Runs an operation on a connection of its own. Raises whatever psycopg raises if no answer comes in time."""
        connection = await self.connect()
        try:
            return await connection.answer(operation)
        finally:
            await connection.close()

    async def connect_as_worker(self) -> EngineConnection:
        """Like ``connect``, but the connection is recognizable as this worker's: a worker that takes over from this one
        ends what it is doing there."""
        connection = await self.connect()
        try:
            await self._meet_pooler(connection.psycopg)
        except BaseException:
            await connection.close()
            raise
        return connection

    def hurry(self) -> None:
        """Checks at once which connections have fallen silent, because the database answers again."""
        self._watch.hurry()

    async def open(self) -> None:
        """Starts the pools; does not wait for the database."""
        await self._engine.open(wait=False)
        if self._transactions.closed:
            await self._transactions.open(wait=False)

    async def close(self) -> None:
        """Closes what was opened here; a pool passed in by the caller stays open."""
        await asyncio.gather(*(pool.close(_CLOSE_SECONDS) for pool in self._own_pools))

    @asynccontextmanager
    async def engine(self) -> AsyncGenerator[EngineConnection]:
        """Yields a connection for the engine's operations."""
        async with self._engine.connection() as connection:
            with self._watch.over(connection, is_ours=True):
                try:
                    has_limits = not self._watch.is_pooled and not self._is_distributed
                    yield EngineConnection(connection, self.schema, () if has_limits else self._limits_of_transaction)
                except psycopg.Error as error:
                    # Its neighbors are broken as well, or lead to a server that is a standby by now.
                    if connection.broken or isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
                        self._renew()
                    raise

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection[Any]]:
        """Yields a connection in an open transaction, which is committed at the end of the block and rolled back by an
        exception."""
        async with self._transactions.connection() as connection:
            with self._watch.over(connection, is_ours=False):
                async with connection.transaction():
                    yield connection

    @property
    def _limits_of_transaction(self) -> Sequence[LiteralString]:
        return _LIMITS_ON_CITUS if self._is_distributed else _LIMITS_OF_TRANSACTION

    async def _prepare(self, connection: AsyncConnection[Any]) -> None:
        await self._meet_pooler(connection)
        if self._watch.is_pooled:
            return  # session settings would leak to other clients, and without prepared plans none can go stale
        with answering(connection, _CONNECT_SECONDS):
            # Limits set for a role are meant for its own queries; a flush that is cut off would only be sent again.
            await connection.execute(f"SET statement_timeout = 0; SET {_LOCK_LIMIT}")
            await connection.execute("SET idle_in_transaction_session_timeout = '10s'")  # ours never idle that long
            await connection.execute(PLANS)
            found = await connection.execute("SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'")
            self._is_distributed = found.rowcount > 0

    async def _meet_pooler(self, connection: AsyncConnection[Any]) -> None:
        is_autocommit = connection.autocommit
        await connection.set_autocommit(True)
        with answering(connection, _CONNECT_SECONDS):
            engine = EngineConnection(connection, self.schema)
            self._watch.is_pooled = await engine.run(is_pooled(connection.info.backend_pid))
            if self._watch.is_pooled:
                connection.prepare_threshold = None  # the next transaction may run in another session
            else:
                await engine.run(share_lock(self.lock_key))
                # The server must also notice that a connection is dead, and release the locks it holds.
                await connection.execute("SET tcp_keepalives_idle = 10")
                await connection.execute("SET tcp_keepalives_interval = 5")
                await connection.execute("SET tcp_keepalives_count = 3")
        await connection.set_autocommit(is_autocommit)

    def _renew(self) -> None:
        now = time.monotonic()
        if now - self._renewed_at < _RENEW_SECONDS:
            return
        self._renewed_at = now
        for pool in self._own_pools:
            task = asyncio.get_running_loop().create_task(pool.drain())
            self._renewals.add(task)
            task.add_done_callback(self._renewals.discard)


def _bounded(conninfo: str, options: dict[str, Any]) -> dict[str, Any]:
    if {"connect_timeout"} & {*options, *conninfo_to_dict(conninfo)} or "PGCONNECT_TIMEOUT" in os.environ:
        return options
    return {**options, "connect_timeout": _CONNECT_SECONDS}


def _pool(
    conninfo: str,
    options: dict[str, Any],
    size: int,
    configure: Callable[[AsyncConnection[Any]], Awaitable[None]],
) -> Pool:
    return AsyncConnectionPool(
        conninfo,
        kwargs=options,
        min_size=1,
        max_size=size,
        open=False,
        timeout=_RECONNECT_SECONDS,
        reconnect_timeout=_RECONNECT_SECONDS,
        configure=configure,
    )
