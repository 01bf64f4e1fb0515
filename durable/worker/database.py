"""A worker's connections: a few for the engine's own statements, others for the transaction steps of users."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from durable.postgres.connection import EngineConnection
from durable.postgres.opening import Opening, Pool
from durable.postgres.silence import Watch, answering
from durable.store.operation import Operation
from durable.store.sessions import share_lock
from durable.store.statement import T
from durable.worker.outages import FailureLog, Outages

_logger = logging.getLogger("durable.worker")

_ENGINE_CONNECTIONS = 4
_OTHER_CONNECTIONS = 4
"""Those of the lease, of takeovers and of the listener, and one that asks about connections that seem silent."""
LEAST_CONNECTIONS = _OTHER_CONNECTIONS + 2
DEFAULT_CONNECTIONS = _OTHER_CONNECTIONS + _ENGINE_CONNECTIONS + 10
_RECONNECT_SECONDS = 2.0
"""How long one attempt to reconnect may take; the next statement starts the next attempt."""
_RENEW_SECONDS = 0.5
_CLOSE_SECONDS = 0.5
_CONNECT_SECONDS = 3.0

_KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""The server must also notice that a connection is dead, and release the locks that it holds."""

_STRINGS: LiteralString = "SET standard_conforming_strings = on"
"""This one a pooler keeps for each of its clients, if it is set after the connection was made."""

_LOCK_LIMIT: LiteralString = "1s"
"""How long a statement of the engine waits for a lock. An application that inserts a row can keep its transaction
open for any length of time, and a few statements that wait for it would hold all engine connections. Locks of the
engine itself last for milliseconds."""
_LIMITS_OF_TRANSACTION: Sequence[LiteralString] = (
    "SET LOCAL array_nulls = on",
    "SET LOCAL jit = off",
    f"SET LOCAL lock_timeout = '{_LOCK_LIMIT}'",
)
_LIMITS_ON_CITUS: Sequence[LiteralString] = (
    "SET LOCAL citus.propagate_set_commands = 'local'",  # or the nodes, which have the rows, would not know the limit
    *_LIMITS_OF_TRANSACTION,
)

_SESSION = {
    **_KEEPALIVES,
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "jit": "off",
    "lock_timeout": _LOCK_LIMIT,
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "10s",
}
"""What the engine relies on, whatever is set for the role or the database. Limits are meant for the role's own queries:
a flush that is cut off would only be sent again, and a listener is idle for hours. Ours never idle in a transaction for
as long as ten seconds. JIT would compile statements that only seem expensive, because their joins are disabled or
because the table of workers has had many rows: then a heartbeat takes 1.5 s. The isolation is not among them: under a
stricter one, more transactions fail and are repeated."""

PLANS = """
    SELECT pg_catalog.set_config('plan_cache_mode', CASE WHEN EXISTS (
        SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'
    ) THEN 'force_custom_plan' ELSE 'force_generic_plan' END, false);
    SET enable_seqscan = off; SET enable_mergejoin = off; SET enable_nestloop = off"""
"""Each of the engine's statements is best planned once and for all, with an index and hash joins, whatever the
statistics say and however many runs it concerns. Left to itself, the planner takes half the time of a small statement,
and a plan that it chose while the tables were small scans a whole shard value once they have grown, or joins 500 ids by
250,000 comparisons. Citus has to know the shard value before it can plan anything but the simplest statements."""


class Database:
    """The connections of one worker to one schema, at most ``max_connections`` at a time, not counting those of a pool
    that was passed in. They open lazily, so that a worker can start before its database does. ``outages`` has what
    fails in the worker's event loop wait for its next try."""

    def __init__(self, conninfo_or_pool: str | Pool, schema: str, max_connections: int = DEFAULT_CONNECTIONS) -> None:
        self.schema = schema
        self.outages = Outages(FailureLog())
        self._opening = Opening(conninfo_or_pool)
        shared = max_connections - _OTHER_CONNECTIONS
        size = min(_ENGINE_CONNECTIONS, max(1, shared // 2))
        self._engine = self._opening.pool(size, self._prepare, _RECONNECT_SECONDS)
        if isinstance(conninfo_or_pool, AsyncConnectionPool):
            self._transactions = conninfo_or_pool
            self._own_pools = [self._engine]
        else:
            self._transactions = self._opening.pool(shared - size, self._prepare_for_users, _RECONNECT_SECONDS)
            self._own_pools = [self._engine, self._transactions]
        self._asking = asyncio.Semaphore(1)
        self.session_key = secrets.randbits(63)
        """By which the sessions of this worker can be recognized."""
        self._watch = Watch(self.ask, self._renew)
        self._is_distributed = False
        self._renewals: set[asyncio.Task[None]] = set()
        self._renewed_at = float("-inf")

    async def connect(self, patience: float = _CONNECT_SECONDS) -> EngineConnection:
        """Opens a connection outside the pools, for the caller to close. It is recognizable as this worker's: a worker
        that takes over from this one ends what it is doing there. It prepares no statements, so that it also works
        behind a transaction pooler. No single answer is waited for longer than ``patience``, in seconds."""
        # An attempt that began while the network was silent gets no answer afterwards either.
        async with asyncio.timeout(patience):
            connection = await self._opening.open(prepare_threshold=None)
        try:
            await self._prepare_for_engine(connection, patience)
        except BaseException:
            await connection.close()
            raise
        return self._engine_connection(connection)

    async def ask(self, operation: Operation[T]) -> T:
        """Runs an operation on a connection of its own. Raises whatever psycopg raises if no answer comes in time."""
        async with self._asking:
            connection = EngineConnection(await self._opening.open(prepare_threshold=None), self.schema)
            try:
                return await connection.answer(operation)
            finally:
                await connection.close()

    @property
    def is_pooled(self) -> bool:
        """Returns whether a pooler that lends out a server connection for each transaction was met."""
        return self._watch.is_pooled

    def hurry(self) -> None:
        """Has everything tried again that failed, and checks at once which connections have fallen silent, because the
        database answers again."""
        self.outages.are_over()
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
                    yield self._engine_connection(connection)
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

    def _engine_connection(self, connection: AsyncConnection[Any]) -> EngineConnection:
        return EngineConnection(connection, self.schema, self._settings)

    @property
    def _settings(self) -> Sequence[LiteralString]:
        """What each transaction sets, because the session does not have it."""
        if self._is_distributed:
            return _LIMITS_ON_CITUS
        return _LIMITS_OF_TRANSACTION if self._watch.is_pooled else ()

    async def _prepare(self, connection: AsyncConnection[Any]) -> None:
        await self._prepare_for_engine(connection, _CONNECT_SECONDS)
        if not self._watch.is_pooled:  # without prepared plans none can go stale
            with answering(connection, _CONNECT_SECONDS):
                await connection.execute(PLANS)

    async def _prepare_for_engine(self, connection: AsyncConnection[Any], patience: float) -> None:
        await self._set_up(connection, _SESSION, patience)
        if self._watch.is_pooled:
            # Other settings would leak to the pooler's other clients; each transaction makes those that it needs.
            with answering(connection, patience):
                await connection.execute(_STRINGS)

    async def _prepare_for_users(self, connection: AsyncConnection[Any]) -> None:
        await self._set_up(connection, _KEEPALIVES, _CONNECT_SECONDS)

    async def _set_up(self, connection: AsyncConnection[Any], settings: Mapping[str, str], patience: float) -> None:
        told = connection.info.backend_pid
        with answering(connection, patience):
            engine = EngineConnection(connection, self.schema)
            session = await engine.run(share_lock(self.session_key, told, settings))
        self._is_distributed = session.is_distributed
        self._watch.is_pooled = session.process_id != told
        if self._watch.is_pooled:
            connection.prepare_threshold = None  # the next transaction may run in another session
        elif not session.is_marked:
            _logger.warning("a session could not be marked as this worker's: another login is in the way")

    def _renew(self) -> None:
        now = time.monotonic()
        if now - self._renewed_at < _RENEW_SECONDS:
            return
        self._renewed_at = now
        for pool in self._own_pools:
            task = asyncio.get_running_loop().create_task(pool.drain())
            self._renewals.add(task)
            task.add_done_callback(self._renewed)

    def _renewed(self, task: asyncio.Task[None]) -> None:
        self._renewals.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.outages.log.failed("renewing connections", error)
