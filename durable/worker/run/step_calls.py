"""Runs one step: the user's function, its retries, its timeout."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor as ThreadPool
from typing import Any

import msgspec
import psycopg

from durable.core.codec.json_codec import Codec, encode_as
from durable.core.durations import seconds
from durable.core.errors import DurableError, SerializationError
from durable.core.failures import error_info
from durable.core.replay.commands import Draw, Execute, StartChild, Transact
from durable.core.replay.history import Failure, Value
from durable.postgres.outages import is_outage, reason_of
from durable.postgres.pipeline import run
from durable.store.records import StepMemo
from durable.store.transaction_steps import Ownership, find_committed, store_transaction_memo
from durable.worker.clock import Clock
from durable.worker.database import Database

_JITTER = 0.25
_AWAY_SECONDS = 0.5
_MAX_EXCUSED = 50
"""Conflicts and shortages in a row that do not use up a retry. There is a limit because a transaction that can never
succeed must end all the same."""


class Finished(msgspec.Struct, frozen=True):
    """The result of a step. ``attempts`` counts calls of the function; ``took`` is in seconds and includes retries."""

    outcome: Value | Failure
    attempts: int
    took: float
    input: str | None
    is_stored: bool

    def memo(self, call: Execute | Draw | StartChild, seq: int) -> StepMemo:
        """Returns the memo that the journal writes."""
        output = self.outcome.text if isinstance(self.outcome, Value) else None
        error = self.outcome.error.text if isinstance(self.outcome, Failure) else None
        return StepMemo(call.key, call.kind, seq, call.name, self.attempts, self.took, self.input, output, error)


class Fenced(DurableError):
    """The run belongs to another worker by now; what this one did is rolled back."""


class Interrupted(DurableError):
    """The worker is stopping while the step waits for its next try, which another worker may make."""


class _DatabaseAway(Exception):
    """No connection could be had, or it was lost."""


def run_step(
    call: Execute, codec: Codec, of_input: Codec, threads: ThreadPool, clock: Clock, stopping: asyncio.Event
) -> Coroutine[Any, Any, Finished]:
    """Calls the function of ``ctx.execute`` until it succeeds or its policy gives up. ``codec`` encodes its output and
    ``of_input`` its arguments. Raises ``Interrupted``."""

    async def attempt(_: int, what: str) -> str:
        if call.signature.is_async:
            body = call.fn(*call.args)
            value = await (body if call.retry.timeout is None else _within(call, body))
        else:
            context = contextvars.copy_context()
            body = asyncio.get_running_loop().run_in_executor(threads, lambda: context.run(_call, call))
            value = await _within(call, body)
            if asyncio.iscoroutine(value):
                value = await _within(call, value)
        return encode_as(codec, value, call.type, what)

    return _with_retries(call, codec, of_input, attempt, clock, stopping, is_stored=False)


def _call(call: Execute) -> Any:
    try:
        return call.fn(*call.args)
    except (StopIteration, GeneratorExit) as error:
        # A coroutine does the same with StopIteration. No future can pass these on: its waiter would wait forever.
        raise RuntimeError(f"the step raised {type(error).__name__}") from error


def run_transaction(
    call: Transact,
    codec: Codec,
    of_input: Codec,
    database: Database,
    ownership: Ownership,
    clock: Clock,
    stopping: asyncio.Event,
) -> Coroutine[Any, Any, Finished]:
    """Calls the function of ``ctx.transaction`` and commits its work with its memo. Raises ``Fenced`` or
    ``Interrupted``."""
    in_doubt = False

    async def attempt(number: int, what: str) -> str:
        connection: psycopg.AsyncConnection[Any] | None = None
        try:
            if in_doubt and (memo := await _committed(call, database, ownership)) is not None:
                return memo
            async with database.transaction() as connection:
                return await within(connection, number, what)
        except psycopg.OperationalError as error:
            if connection is None or connection.closed:
                raise _DatabaseAway(str(error)) from error
            raise

    async def within(connection: psycopg.AsyncConnection[Any], number: int, what: str) -> str:
        nonlocal in_doubt
        value = await _within(call, call.fn(connection, *call.args))
        output = encode_as(codec, value, call.type, what)
        store = store_transaction_memo(
            ownership,
            step_key=call.key,
            fn=call.name,
            attempts=number,
            input=_input(call, of_input),
            output=output,
        )
        in_doubt = True
        try:
            is_ours = await run(connection, database.schema, store)
        except (psycopg.DataError, psycopg.IntegrityError) as error:  # what a codec made of it is no JSON
            raise SerializationError(what, "$", f"cannot be stored: {reason_of(error)}") from None
        if not is_ours:
            raise Fenced(f"run {ownership.run_id} belongs to another worker")
        return output

    return _with_retries(call, codec, of_input, attempt, clock, stopping, is_stored=True)


async def _committed(call: Transact, database: Database, ownership: Ownership) -> str | None:
    """Returns the output of an earlier try whose outcome is unknown, ``None`` if it was not committed. Raises
    ``Fenced``."""
    async with database.engine() as connection:
        committed = await connection.run(find_committed(ownership, call.key))
    if not committed.is_ours:
        raise Fenced(f"run {ownership.run_id} belongs to another worker")
    return committed.output


async def _with_retries(
    call: Execute,
    codec: Codec,
    of_input: Codec,
    attempt: Callable[[int, str], Awaitable[str]],
    clock: Clock,
    stopping: asyncio.Event,
    *,
    is_stored: bool,
) -> Finished:
    started = clock.monotonic()
    failures = excused = 0
    what = f"the output of {call}"
    try:
        codec.check_type(call.signature.returns, what)
    except SerializationError as error:
        return Finished(Failure(error_info(error), error), 1, 0.0, None, is_stored=False)
    while True:
        try:
            text = await attempt(failures + 1, what)
            took = clock.monotonic() - started
            return Finished(Value(text), failures + 1, took, _input(call, of_input), is_stored)
        except Fenced:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, KeyboardInterrupt) or (task is not None and task.cancelling()):
                raise
            if isinstance(error, _DatabaseAway) or (is_stored and excused < _MAX_EXCUSED and _is_excused(error)):
                excused += not isinstance(error, _DatabaseAway)
                await _pause(_AWAY_SECONDS * random.random(), clock, stopping)
                continue
            failures += 1
            # With a GeneratorExit there is no telling whether the step raised it or the loop is being closed.
            delay = None if isinstance(error, GeneratorExit) else call.retry.next_delay(failures, error)
            if delay is None:
                took = clock.monotonic() - started
                return Finished(
                    Failure(error_info(error), error), failures, took, _input(call, of_input), is_stored=False
                )
            await _pause(delay * random.uniform(1 - _JITTER, 1 + _JITTER), clock, stopping)


async def _pause(delay: float, clock: Clock, stopping: asyncio.Event) -> None:
    if await clock.wait(stopping, delay):
        raise Interrupted("the worker is stopping")


def _is_excused(error: BaseException) -> bool:
    """Returns whether the error is a conflict or a shortage in the database. A cancelled statement is neither: its own
    time limit ended it."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state not in (None, "57014") and is_outage(error)


async def _within(call: Execute, body: Awaitable[Any]) -> Any:
    if call.retry.timeout is None:
        return await body
    limit = seconds("timeout", call.retry.timeout)
    deadline = asyncio.timeout(limit)
    try:
        async with deadline:
            return await body
    except TimeoutError:
        if deadline.expired():
            raise TimeoutError(f"step {call.key!r} did not finish within {limit:g} s") from None
        raise


def _input(call: Execute, codec: Codec) -> str | None:
    """Returns the arguments, for people to read, ``None`` if they cannot be encoded; replay never reads them."""
    try:
        return codec.encode(call.args, "the input")
    except SerializationError:
        return None
