"""Waits for runs to end. A notification announces an end; occasional polling finds ends that were not announced."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import closing

import psycopg
from psycopg import Connection, sql
from psycopg_pool import PoolTimeout

from durable.client.connections import AsyncConnections, Connections
from durable.client.forks import leave
from durable.client.operations import Operations
from durable.core.errors import DurableError, ResultTimeout, RunNotFound
from durable.core.runs import TERMINAL, RunKey
from durable.postgres.connection import EngineConnection
from durable.postgres.drive import run
from durable.postgres.listening import Channels, listen
from durable.store.channels import done_channel
from durable.store.inspection import RunOutcome

_logger = logging.getLogger("durable.client")

_FIRST_PAUSE = 0.05
_MAX_PAUSE = 1.0
_RECONNECT_SECONDS = 0.5
_HEARTBEAT_SECONDS = 30.0
_ANSWER_SECONDS = 5.0


class Results:
    """Waits in the caller's thread: by listening on a connection of the pool while enough are left, otherwise by
    polling alone."""

    def __init__(self, connections: Connections, operations: Operations) -> None:
        self.connections = connections
        self.operations = operations
        self._channel = sql.Identifier(done_channel(connections.schema))

    def outcome(self, run_key: RunKey, timeout: float | None) -> RunOutcome:
        """Waits for the end of the run and returns its outcome. Raises ``RunNotFound``, and ``ResultTimeout`` after
        ``timeout`` seconds; ``None`` waits indefinitely."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pauses = _pauses()
        while True:
            try:
                return self._wait(run_key, timeout, deadline, pauses)
            except ResultTimeout as late:
                raise ResultTimeout(run_key, late.timeout, late.status, is_served=self._is_served(run_key)) from None
            except psycopg.OperationalError as error:
                remaining = _remaining(deadline)
                if isinstance(error, PoolTimeout) or remaining <= 0:
                    raise
                _logger.warning("connection lost while waiting for run %s; still waiting: %s", run_key, error)
                time.sleep(min(next(pauses), remaining))

    def _is_served(self, run_key: RunKey) -> bool | None:
        try:
            return self.connections.run(self.operations.is_served(run_key))
        except psycopg.Error as error:
            _logger.debug("whether run %s is served is not known: %s", run_key, error)
            return None

    def _wait(
        self, run_key: RunKey, timeout: float | None, deadline: float | None, pauses: Iterator[float]
    ) -> RunOutcome:
        if self.connections.may_listen and self.connections.listeners.acquire(blocking=False):
            try:
                with self.connections.connection() as connection:
                    return self._listen(connection, run_key, timeout, deadline, pauses)
            finally:
                self.connections.listeners.release()
        while True:
            outcome = self.connections.run(self.operations.outcome(run_key))
            if outcome.status in TERMINAL:
                return outcome
            time.sleep(min(next(pauses), _check_deadline(run_key, timeout, deadline, outcome)))

    def _listen(
        self,
        connection: Connection[object],
        run_key: RunKey,
        timeout: float | None,
        deadline: float | None,
        pauses: Iterator[float],
    ) -> RunOutcome:
        connection.execute(sql.SQL("LISTEN {}").format(self._channel))
        try:
            while True:
                self.connections.check_open()
                outcome = run(connection, self.connections.schema, self.operations.outcome(run_key))
                if outcome.status in TERMINAL:
                    return outcome
                remaining = _check_deadline(run_key, timeout, deadline, outcome)
                with closing(connection.notifies(timeout=min(next(pauses), remaining))) as notices:
                    for notice in notices:
                        if run_key.run_id in notice.payload:
                            break
        finally:
            if not connection.closed:
                connection.execute(sql.SQL("UNLISTEN {}").format(self._channel))
                for _ in connection.notifies(timeout=0):
                    pass  # nothing waits for the notifications that arrived meanwhile


class _Waiter:
    __slots__ = ("due", "future", "pauses", "run_key")

    def __init__(self, run_key: RunKey, future: asyncio.Future[RunOutcome]) -> None:
        self.run_key = run_key
        self.future = future
        self.pauses = _pauses()
        self.due = 0.0


class AsyncResults:
    """One listening connection and one polling task, started with the first waiter, serve all waiters."""

    def __init__(self, connections: AsyncConnections, operations: Operations) -> None:
        self.connections = connections
        self.operations = operations
        self._channel = done_channel(connections.schema)
        self._generation = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._begin()

    def _begin(self) -> None:
        if not all(task.done() for task in self._tasks):
            leave(self._tasks)
        self._waiters: dict[str, set[_Waiter]] = {}
        self._urgent: set[_Waiter] = set()
        self._wake = asyncio.Event()
        self._tasks = []

    def _settle_in_loop(self) -> None:
        self.connections.settle_in_loop()
        if self._generation != self.connections.generation:
            self._generation = self.connections.generation
            self._begin()

    async def outcome(self, run_key: RunKey, timeout: float | None) -> RunOutcome:
        """Same as ``Results.outcome``."""
        self._settle_in_loop()
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._keep_asking()), asyncio.create_task(self._keep_listening())]
        waiter = _Waiter(run_key, asyncio.get_running_loop().create_future())
        self._waiters.setdefault(run_key.run_id, set()).add(waiter)
        self._ask_now((waiter,))
        try:
            async with asyncio.timeout(timeout):
                return await waiter.future
        except TimeoutError:
            # The answer may be on its way, and the error must name the status.
            outcome = await self.connections.run(self.operations.outcome(run_key))
            if outcome.status in TERMINAL:
                return outcome
            raise ResultTimeout(
                run_key, timeout or 0.0, outcome.status, is_served=await self._is_served(run_key)
            ) from None
        finally:
            self._forget(waiter)

    async def _is_served(self, run_key: RunKey) -> bool | None:
        try:
            return await self.connections.run(self.operations.is_served(run_key))
        except psycopg.Error as error:
            _logger.debug("whether run %s is served is not known: %s", run_key, error)
            return None

    async def close(self) -> None:
        """Stops listening and polling. Callers that are still waiting get a ``DurableError``."""
        tasks, self._tasks = [task for task in self._tasks if task.get_loop() is asyncio.get_running_loop()], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for waiter in self._all():
            _fail(waiter, DurableError("this client is closed"))

    def _all(self) -> list[_Waiter]:
        return [waiter for waiters in self._waiters.values() for waiter in waiters]

    def _forget(self, waiter: _Waiter) -> None:
        self._urgent.discard(waiter)
        waiters = self._waiters.get(waiter.run_key.run_id)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[waiter.run_key.run_id]

    def _ask_now(self, waiters: Iterable[_Waiter]) -> None:
        self._urgent.update(waiters)
        self._wake.set()

    # asking

    async def _keep_asking(self) -> None:
        while True:
            self._wake.clear()
            asked, self._urgent = self._urgent, set()
            if asked:
                await self._ask(asked)
                continue
            # Overdue waiters are gathered, so that a thousand waiters cost at most twenty statements a second.
            now = time.monotonic()
            next_due = min((waiter.due for waiter in self._all()), default=None)
            if next_due is not None and next_due <= now:
                await self._ask({waiter for waiter in self._all() if waiter.due <= now + _FIRST_PAUSE})
                continue
            try:
                async with asyncio.timeout(None if next_due is None else next_due - now):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _ask(self, asked: set[_Waiter]) -> None:
        now = time.monotonic()
        for waiter in asked:
            waiter.due = now + next(waiter.pauses)
        run_keys = {waiter.run_key for waiter in asked}
        try:
            outcomes = await self.connections.run(self.operations.outcomes(run_keys))
        except Exception as error:
            if isinstance(error, psycopg.OperationalError) and not isinstance(error, PoolTimeout):
                _logger.warning("connection lost while waiting for results; still waiting: %s", error)
                return
            for waiter in asked:
                _fail(waiter, error)
            return
        for waiter in asked:
            outcome = outcomes.get(waiter.run_key)
            if outcome is None:
                _fail(waiter, RunNotFound(waiter.run_key))
            elif outcome.status in TERMINAL and not waiter.future.done():
                waiter.future.set_result(outcome)

    # listening

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._listen()
            except psycopg.NotSupportedError as error:
                _logger.debug("polling for results instead of listening: %s", error)
                return
            except (psycopg.Error, OSError) as error:
                _logger.warning("listening for results stopped, polling continues: %s", error)
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = EngineConnection(await self.connections.connect(), self.connections.schema)
        try:
            await listen(
                connection,
                Channels([self._channel]),
                caught_up=lambda: self._ask_now(self._all()),  # polling finds the runs that ended before
                notified=self._notified,
                heartbeat=_HEARTBEAT_SECONDS,
                patience=_ANSWER_SECONDS,
            )
        finally:
            await connection.close()

    def _notified(self, run_ids: str) -> None:
        for run_id in run_ids.split(","):
            self._ask_now(self._waiters.get(run_id, ()))


def _fail(waiter: _Waiter, error: Exception) -> None:
    if not waiter.future.done():
        waiter.future.set_exception(error)


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _MAX_PAUSE)


def _remaining(deadline: float | None) -> float:
    return float("inf") if deadline is None else deadline - time.monotonic()


def _check_deadline(run_key: RunKey, timeout: float | None, deadline: float | None, outcome: RunOutcome) -> float:
    remaining = _remaining(deadline)
    if remaining <= 0:
        raise ResultTimeout(run_key, timeout or 0.0, outcome.status)
    return remaining
