"""Waits for runs to end and for requests to be answered. A notification announces that; occasional polling finds what
was not announced."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeVar, cast

import psycopg
from psycopg import Connection, sql
from psycopg_pool import PoolTimeout

from durable.client.connections import AsyncConnections, Connections
from durable.client.forks import leave
from durable.client.questions import AnyQuestion, EndOf, Question, ReplyTo
from durable.client.requests import Answered, Asked, RequestOperations, Unanswered
from durable.core.errors import DurableError
from durable.core.runs import RunKey
from durable.postgres.connection import EngineConnection
from durable.postgres.drive import run
from durable.postgres.listening import Channels, listen
from durable.store.channels import done_channel
from durable.store.inspection import RunOutcome
from durable.store.operation import Operation

FoundT = TypeVar("FoundT")

_logger = logging.getLogger("durable.client")

_FIRST_PAUSE = 0.05
_MAX_PAUSE = 1.0
_RECONNECT_SECONDS = 0.5
_HEARTBEAT_SECONDS = 30.0
_ANSWER_SECONDS = 5.0


class Results:
    """Waits in the caller's thread: by listening on a connection of the pool while enough are left, otherwise by
    polling alone."""

    def __init__(self, connections: Connections, operations: RequestOperations) -> None:
        self.connections = connections
        self.operations = operations
        self._channel = sql.Identifier(done_channel(connections.schema))

    def outcome(self, run_key: RunKey, timeout: float | None) -> RunOutcome:
        """Waits for the end of the run and returns its outcome. Raises ``RunNotFound``, and ``ResultTimeout`` after
        ``timeout`` seconds; ``None`` waits indefinitely."""
        return self._answer(EndOf(run_key), timeout)

    def reply(self, asked: Asked, timeout: float | None) -> Answered:
        """Waits for the answer to the request. Raises ``RunEnded``, ``RunNotFound`` or ``RequestNotFound``, and
        ``RequestTimeout`` after ``timeout`` seconds; ``None`` waits indefinitely."""
        question: Question[Answered | Unanswered] = ReplyTo(asked)
        return cast(Answered, self._answer(question, timeout))

    def _answer(self, question: Question[FoundT], timeout: float | None) -> FoundT:
        deadline = None if timeout is None else time.monotonic() + timeout
        pauses = _pauses()
        while True:
            try:
                found = self._wait(question, deadline, pauses)
            except psycopg.OperationalError as error:
                remaining = _remaining(deadline)
                if isinstance(error, PoolTimeout) or remaining <= 0:
                    raise
                _logger.warning("connection lost while waiting for run %s; still waiting: %s", question.run_key, error)
                time.sleep(min(next(pauses), remaining))
            else:
                if question.is_answered(found):
                    return found
                is_served = self._is_served(question.run_key)
                raise question.late(timeout or 0.0, found, is_served=is_served)

    def _is_served(self, run_key: RunKey) -> bool | None:
        try:
            return self.connections.run(self.operations.is_served(run_key))
        except psycopg.Error as error:
            _logger.debug("whether run %s is served is not known: %s", run_key, error)
            return None

    def _wait(self, question: Question[FoundT], deadline: float | None, pauses: Iterator[float]) -> FoundT:
        """Returns the answer, or how things stand when the time is over."""
        if self.connections.may_listen and self.connections.listeners.acquire(blocking=False):
            try:
                with self.connections.connection() as connection:
                    return self._listen(connection, question, deadline, pauses)
            finally:
                self.connections.listeners.release()
        while True:
            found = self._look(self.connections.run, question)
            remaining = _remaining(deadline)
            if remaining <= 0 or question.is_answered(found):
                return found
            time.sleep(min(next(pauses), remaining))

    def _look(self, run: Callable[[Operation[Any]], Any], question: Question[FoundT]) -> FoundT:
        found = run(question.look(self.operations, [question]))[question]
        if isinstance(found, DurableError):
            raise found
        return cast(FoundT, found)

    def _listen(
        self,
        connection: Connection[object],
        question: Question[FoundT],
        deadline: float | None,
        pauses: Iterator[float],
    ) -> FoundT:
        connection.execute(sql.SQL("LISTEN {}").format(self._channel))
        try:
            while True:
                self.connections.check_open()
                found = self._look(partial(run, connection, self.connections.schema), question)
                remaining = _remaining(deadline)
                if remaining <= 0 or question.is_answered(found):
                    return found
                with closing(connection.notifies(timeout=min(next(pauses), remaining))) as notices:
                    for notice in notices:
                        if any(one in notice.payload for one in question.ids):
                            break
        finally:
            if not connection.closed:
                connection.execute(sql.SQL("UNLISTEN {}").format(self._channel))
                for _ in connection.notifies(timeout=0):
                    pass  # nothing waits for the notifications that arrived meanwhile


class _Waiter:
    __slots__ = ("due", "future", "pauses", "question")

    def __init__(self, question: AnyQuestion, future: asyncio.Future[Any]) -> None:
        self.question = question
        self.future = future
        self.pauses = _pauses()
        self.due = 0.0


class AsyncResults:
    """One listening connection and one polling task, started with the first waiter, serve all waiters."""

    def __init__(self, connections: AsyncConnections, operations: RequestOperations) -> None:
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
        return await self._answer(EndOf(run_key), timeout)

    async def reply(self, asked: Asked, timeout: float | None) -> Answered:
        """Same as ``Results.reply``."""
        question: Question[Answered | Unanswered] = ReplyTo(asked)
        return cast(Answered, await self._answer(question, timeout))

    async def _answer(self, question: Question[FoundT], timeout: float | None) -> FoundT:
        self._settle_in_loop()
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._keep_asking()), asyncio.create_task(self._keep_listening())]
        waiter = _Waiter(question, asyncio.get_running_loop().create_future())
        for one in question.ids:
            self._waiters.setdefault(one, set()).add(waiter)
        self._ask_now((waiter,))
        try:
            async with asyncio.timeout(timeout):
                return cast(FoundT, await waiter.future)
        except TimeoutError:
            # The answer may be on its way, and the error must name the status.
            found = (await self.connections.run(question.look(self.operations, [question])))[question]
            if isinstance(found, DurableError):
                raise found from None
            if question.is_answered(found):
                return found
            is_served = await self._is_served(question.run_key)
            raise question.late(timeout or 0.0, found, is_served=is_served) from None
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

    def _all(self) -> set[_Waiter]:
        return {waiter for waiters in self._waiters.values() for waiter in waiters}

    def _forget(self, waiter: _Waiter) -> None:
        self._urgent.discard(waiter)
        for one in waiter.question.ids:
            waiters = self._waiters.get(one)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[one]

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
        by_kind: defaultdict[type, dict[AnyQuestion, list[_Waiter]]] = defaultdict(dict)
        for waiter in asked:
            by_kind[type(waiter.question)].setdefault(waiter.question, []).append(waiter)
        for of_kind in by_kind.values():
            await self._ask_of_kind(of_kind)

    async def _ask_of_kind(self, asked: dict[AnyQuestion, list[_Waiter]]) -> None:
        questions = list(asked)
        try:
            answers = await self.connections.run(questions[0].look(self.operations, questions))
        except Exception as error:
            if isinstance(error, psycopg.OperationalError) and not isinstance(error, PoolTimeout):
                _logger.warning("connection lost while waiting for results; still waiting: %s", error)
                return
            for waiters in asked.values():
                for waiter in waiters:
                    _fail(waiter, error)
            return
        for question, waiters in asked.items():
            found = answers[question]
            for waiter in waiters:
                if isinstance(found, DurableError):
                    _fail(waiter, found)
                elif question.is_answered(found) and not waiter.future.done():
                    waiter.future.set_result(found)

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
                caught_up=lambda: self._ask_now(self._all()),  # polling finds what happened before
                notified=self._notified,
                heartbeat=_HEARTBEAT_SECONDS,
                patience=_ANSWER_SECONDS,
            )
        finally:
            await connection.close()

    def _notified(self, ids: str) -> None:
        for one in ids.split(","):
            self._ask_now(self._waiters.get(one, ()))


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
