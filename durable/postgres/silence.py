"""Finds connections behind which the network has fallen silent, and hangs them up.

A half-open connection gives no error for hours, and anything that awaits its answer waits just as long. Cancelling that
wait does not help, because psycopg cancels a statement over a second connection, through the same network. Shutting
down the socket does help.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import PipelineStatus, TransactionStatus

from durable.store.operation import Operation
from durable.store.sessions import Backend, end_backend, look_at_backend
from durable.store.statement import T

_logger = logging.getLogger("durable.postgres")

_LOOK_SECONDS = 0.5
_LOOK_AT_USERS_SECONDS = 1.0
"""Connections of transaction steps are looked at less often: users' statements may well be slow, and each look takes a
connection."""
_FIRST_LOOK = 2
"""The first look comes this many intervals after a statement began."""
ANSWER_SECONDS = 3.0
"""How long a healthy database may take to answer a small statement."""
_POOLED_SECONDS = 30.0
"""Behind a pooler the server cannot be asked about a connection, so the engine's own statements have this long."""


def hang_up(connection: AsyncConnection[Any]) -> None:
    """Shuts down the connection's socket. Anything that awaits an answer there gets an ``OperationalError``."""
    if not connection.closed:
        line = socket.socket(fileno=connection.pgconn.socket)
        try:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        finally:
            line.detach()  # it is libpq that closes it


@contextmanager
def answering(connection: AsyncConnection[Any], seconds: float) -> Generator[None]:
    """Hangs up unless the block ends within that many seconds."""
    timer = asyncio.get_running_loop().call_later(seconds, hang_up, connection)
    try:
        yield
    finally:
        timer.cancel()


class Ask(Protocol):
    """Runs an operation on a separate connection, within ``ANSWER_SECONDS``."""

    async def __call__(self, operation: Operation[T], /) -> T: ...


class Watch:
    """Hangs up connections on which we wait for an answer that the server does not owe. The server is asked over
    another connection, by ``ask``. ``hung_up`` is called after a connection was hung up, because its neighbors may be
    just as silent."""

    def __init__(self, ask: Ask, hung_up: Callable[[], None]) -> None:
        self._ask = ask
        self._hung_up = hung_up
        self._begins: set[Callable[[], None]] = set()
        self.is_pooled = False
        """Whether a pooler is in between; set by the code that opens the connections."""

    @contextmanager
    def over(self, connection: AsyncConnection[Any], *, is_ours: bool) -> Generator[None]:
        """Watches a connection during the block. ``is_ours`` means that only the engine's own statements are run there,
        which never keep the server waiting for input."""
        loop = asyncio.get_running_loop()
        looking: list[asyncio.Task[None]] = []

        def begin() -> None:
            for task in looking:
                task.cancel()
            looking.append(loop.create_task(self._look_on(connection, is_ours=is_ours)))

        if not self.is_pooled:
            timer = loop.call_later(_FIRST_LOOK * _look_seconds(is_ours=is_ours), begin)
        elif is_ours:
            timer = loop.call_later(_POOLED_SECONDS, hang_up, connection)
        else:
            yield
            return
        self._begins.add(begin)
        try:
            yield
        finally:
            self._begins.discard(begin)
            timer.cancel()
            for task in looking:
                task.cancel()

    def hurry(self) -> None:
        """Looks immediately at everything that is awaited, because the network was interrupted and works again. A look
        that was begun before may hang for as long as the connection that it looks at."""
        if not self.is_pooled:
            for begin in list(self._begins):
                begin()

    async def _look_on(self, connection: AsyncConnection[Any], *, is_ours: bool) -> None:
        before: Backend | None = None
        is_second = False
        while True:
            is_silent, backend = False, None
            try:
                is_silent, backend = await self._look(connection, is_ours=is_ours)
            except (psycopg.Error, OSError) as error:
                _logger.debug("the server could not be asked about a slow connection: %s", error)
            except Exception:
                _logger.exception("unexpected error while the server was asked about a slow connection")
            if is_silent and is_second and backend == before:
                _logger.warning("a connection fell silent while its answer was awaited; closing it")
                await self._give_up(connection)
                return
            is_second, before = is_silent, backend
            await asyncio.sleep(_look_seconds(is_ours=is_ours))

    async def _give_up(self, connection: AsyncConnection[Any]) -> None:
        """Closes a connection at both ends; otherwise the server would hold for hours what was locked over it."""
        try:
            await self._ask(end_backend(connection.info.backend_pid))
        except Exception as error:
            _logger.warning("the server's end of a silent connection could not be closed: %r", error)
        finally:
            hang_up(connection)
            self._hung_up()

    async def _look(self, connection: AsyncConnection[Any], *, is_ours: bool) -> tuple[bool, Backend | None]:
        """Returns whether we wait while the server is not working for us, and how the server described the
        connection."""
        if not _is_waiting(connection, is_ours=is_ours):
            return False, None
        backend = await self._ask(look_at_backend(connection.info.backend_pid))
        is_working = backend is not None and backend.state == "active" and not (is_ours and backend.is_reading)
        return not is_working and _is_waiting(connection, is_ours=is_ours), backend


def _is_waiting(connection: AsyncConnection[Any], *, is_ours: bool) -> bool:
    if connection.closed or connection.pgconn.transaction_status != TransactionStatus.ACTIVE:
        return False
    # In a pipeline a connection counts as active even if nothing was asked.
    return is_ours or connection.pgconn.pipeline_status == PipelineStatus.OFF


def _look_seconds(*, is_ours: bool) -> float:
    return _LOOK_SECONDS if is_ours else _LOOK_AT_USERS_SECONDS
