"""Runs one step: the user's function, its retries, its timeout."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any

import msgspec
import psycopg

from durable.core.codec.json_codec import Codec, encode_as
from durable.core.durations import seconds
from durable.core.errors import DurableError, SerializationError
from durable.core.failures import error_info
from durable.core.replay.commands import Draw, Execute, StartChild, Transact
from durable.core.replay.current import Step, current_step, enter_step
from durable.core.replay.history import Failure, Value
from durable.core.replay.isolation import isolated, isolated_by_name
from durable.core.retry import is_hopeless
from durable.core.run_options import Given
from durable.core.runs import RunKey
from durable.postgres.outages import is_outage, reason_of
from durable.postgres.pipeline import run
from durable.store.records import StepMemo
from durable.store.transaction_steps import Ownership, find_committed, store_transaction_memo
from durable.worker.clock import Clock
from durable.worker.database import Database
from durable.worker.outages import Outages
from durable.worker.run.fresh_context import body_of_try
from durable.worker.threads import StepThreads, ThreadCall

_logger = logging.getLogger("durable.worker")

_JITTER = 0.25
_OVERRUN_SECONDS = 5.0
"""How long a thread is waited for whose step has timed out. If its function has not returned by then, the step is given
up: a second try beside the first could do the same thing twice."""
_STILL_RUNS = "and its thread still runs, so that no other try may start"
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

    def memo(self, call: Execute | Draw | StartChild, seq: int | None, at: datetime | None) -> StepMemo:
        """Returns the memo that the journal writes."""
        output = self.outcome.text if isinstance(self.outcome, Value) else None
        error = self.outcome.error.text if isinstance(self.outcome, Failure) else None
        return StepMemo(call.key, call.kind, seq, call.name, self.attempts, self.took, self.input, output, error, at)


class Fenced(DurableError):
    """The run belongs to another worker by now; what this one did is rolled back."""


class Interrupted(DurableError):
    """The worker is stopping while the step waits for its next try, which another worker may make."""


class _DatabaseAway(Exception):
    """No connection could be had, or it was lost."""


def run_step(
    call: Execute,
    run_key: RunKey,
    given: Given,
    codec: Codec,
    of_input: Codec,
    threads: StepThreads,
    clock: Clock,
    stopping: asyncio.Event,
) -> Coroutine[Any, Any, Finished]:
    """Calls the function of ``ctx.execute`` until it succeeds or its policy gives up. ``codec`` encodes its output and
    ``of_input`` its arguments. Raises ``Interrupted``."""
    overrunning: ThreadCall | None = None

    async def attempt(number: int, what: str) -> str:
        nonlocal overrunning
        overrunning = None
        if call.signature.is_async:
            body = body_of_try(call, number, call.fn(*isolated(call.args), **isolated_by_name(call.kwargs)))
            value = await (body if call.retry.timeout is None else _within(call, body))
        else:
            context = call.context.copy()
            context.run(enter_step, current_step())
            thread = await threads.begin(run_key, call.key, lambda: context.run(_call, call))
            if thread is None:
                raise Interrupted("the worker is stopping")
            if not await thread.ends_within(_limit(call)):
                thread.is_given_up = True
                overrunning = thread
                raise _timed_out(call)
            value = thread.result()
            if asyncio.iscoroutine(value):
                value = await _within(call, body_of_try(call, number, value), spent=time.monotonic() - thread.started)
        return encode_as(codec, value, call.type, what)

    async def has_ended(seconds: float) -> bool:
        return overrunning is None or await overrunning.ends_within(seconds)

    return _with_retries(call, run_key, given, codec, of_input, attempt, has_ended, clock, stopping, is_stored=False)


def _call(call: Execute) -> Any:
    try:
        return call.fn(*isolated(call.args), **isolated_by_name(call.kwargs))
    except (StopIteration, GeneratorExit) as error:
        # A coroutine does the same with StopIteration. No future can pass these on: its waiter would wait forever.
        raise RuntimeError(f"the step raised {type(error).__name__}") from error


def run_transaction(
    call: Transact,
    given: Given,
    codec: Codec,
    of_input: Codec,
    database: Database,
    ownership: Ownership,
    outages: Outages,
    clock: Clock,
    stopping: asyncio.Event,
) -> Coroutine[Any, Any, Finished]:
    """Calls the function of ``ctx.transaction`` and commits its work with its memo. Raises ``Fenced`` or
    ``Interrupted``."""
    run_key = RunKey(ownership.shard_value, ownership.run_id)
    in_doubt = False
    excused = 0

    async def attempt(number: int, what: str) -> str:
        nonlocal excused
        duty = f"transaction {call.key!r} of run {run_key}"
        while True:
            try:
                text = await once(number, what)
            except (_DatabaseAway, psycopg.Error) as error:
                is_away = isinstance(error, _DatabaseAway)
                if _is_being_cancelled() or not (is_away or (excused < _MAX_EXCUSED and _is_excused(error))):
                    outages.forget(duty)
                    raise
                excused += not is_away
                await _wait_out(duty, error, outages, stopping)
            else:
                outages.succeeded(duty)
                return text

    async def once(number: int, what: str) -> str:
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
        body = body_of_try(call, number, call.fn(connection, *isolated(call.args), **isolated_by_name(call.kwargs)))
        value = await _within(call, body)
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

    return _with_retries(call, run_key, given, codec, of_input, attempt, _at_once, clock, stopping, is_stored=True)


async def _committed(call: Transact, database: Database, ownership: Ownership) -> str | None:
    """Returns the output of an earlier try whose outcome is unknown, ``None`` if it was not committed. Raises
    ``Fenced``."""
    async with database.engine() as connection:
        committed = await connection.run(find_committed(ownership, call.key))
    if not committed.is_ours:
        raise Fenced(f"run {ownership.run_id} belongs to another worker")
    return committed.output


async def _at_once(_: float) -> bool:
    """A transaction that was cut off has been rolled back by the time that its try has failed."""
    return True


async def _with_retries(
    call: Execute,
    run_key: RunKey,
    given: Given,
    codec: Codec,
    of_input: Codec,
    attempt: Callable[[int, str], Awaitable[str]],
    has_ended: Callable[[float], Awaitable[bool]],
    clock: Clock,
    stopping: asyncio.Event,
    *,
    is_stored: bool,
) -> Finished:
    """``has_ended`` waits, for at most that many seconds, until nothing of the last try is still being executed, and
    returns whether that is so."""
    started = clock.monotonic()
    failures = 0
    what = f"the output of {call}"

    def failed(error: BaseException) -> Finished:
        _log_failure(call, run_key, failures, error, None)
        took = clock.monotonic() - started
        return Finished(_failure(error), failures, took, _input(call, of_input), is_stored=False)

    try:
        codec.check_type(call.signature.returns, what)
    except SerializationError as error:
        return Finished(_failure(error), 1, 0.0, None, is_stored=False)
    while True:
        try:
            enter_step(Step(run_key, call.key, failures + 1, given))
            text = await attempt(failures + 1, what)
            took = clock.monotonic() - started
            return Finished(Value(text), failures + 1, took, _input(call, of_input), is_stored)
        except (Fenced, Interrupted):
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or _is_being_cancelled():
                raise
            failures += 1
            # With a GeneratorExit there is no telling whether the step raised it or the loop is being closed.
            delay = None if isinstance(error, GeneratorExit) else call.retry.next_delay(failures, error)
            failed_at = time.monotonic()
            if not await has_ended(max(delay or 0.0, _OVERRUN_SECONDS)):
                return failed(TimeoutError(f"{error}, {_STILL_RUNS}"))
            if delay is None:
                return failed(error)
            delay *= random.uniform(1 - _JITTER, 1 + _JITTER)
            _log_failure(call, run_key, failures, error, delay)
            await _pause(max(delay - (time.monotonic() - failed_at), 0.0), clock, stopping)


STEP_CODE = _with_retries.__code__
"""A frame that executes it has the step as ``call`` and its run as ``run_key``."""


def _log_failure(call: Execute, run_key: RunKey, failures: int, error: BaseException, delay: float | None) -> None:
    # Only the class of the error: its message may repeat what the step was given.
    next_try = "it is not tried again" if delay is None else f"it is tried again in {delay:.2g} s"
    extra = {"run_key": str(run_key), "step_key": call.key, "attempt": failures}
    message = "step %r of run %s failed in try %d with %s; %s"
    _logger.warning(message, call.key, run_key, failures, type(error).__name__, next_try, extra=extra)


def _failure(error: BaseException) -> Failure:
    return Failure(error_info(error, is_final=is_hopeless(error)))


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _pause(delay: float, clock: Clock, stopping: asyncio.Event) -> None:
    if await clock.wait(stopping, delay):
        raise Interrupted("the worker is stopping")


async def _wait_out(duty: str, error: Exception, outages: Outages, stopping: asyncio.Event) -> None:
    """Waits until it is this transaction's turn. A worker that begins to stop ends all such waits."""
    if not stopping.is_set():
        await outages.pause(duty, error)
    if stopping.is_set():
        raise Interrupted("the worker is stopping")


def _is_excused(error: BaseException) -> bool:
    """Returns whether the error is a conflict or a shortage in the database. A cancelled statement is neither: its own
    time limit ended it."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state not in (None, "57014") and is_outage(error)


async def _within(call: Execute, body: Awaitable[Any], *, spent: float = 0.0) -> Any:
    """``spent`` is how many seconds of the step's time are over."""
    limit = _limit(call)
    if limit is None:
        return await body
    deadline = asyncio.timeout(limit - spent)
    try:
        async with deadline:
            return await body
    except TimeoutError:
        if deadline.expired():
            raise _timed_out(call) from None
        raise


def _limit(call: Execute) -> float | None:
    return None if call.retry.timeout is None else seconds("timeout", call.retry.timeout)


def _timed_out(call: Execute) -> TimeoutError:
    return TimeoutError(f"step {call.key!r} did not finish within {_limit(call):g} s")


def _input(call: Execute, codec: Codec) -> str | None:
    """Returns the arguments, for people to read, ``None`` if they cannot be encoded; replay never reads them."""
    try:
        return codec.encode([*call.args, call.kwargs] if call.kwargs else call.args, "the input")
    except SerializationError:
        return None
