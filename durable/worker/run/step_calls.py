"""Makes one try of a step: the user's function, its limits, and what follows from its failure."""

from __future__ import annotations

import asyncio
import contextvars
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
import psycopg

from durable.core.codec.json_codec import Codec, encode_as
from durable.core.errors import DurableError, SerializationError
from durable.core.failures import error_info
from durable.core.replay.commands import Drawn, Execute
from durable.core.replay.current import Step, enter_step
from durable.core.replay.history import Failure, Value
from durable.core.replay.isolation import isolated, isolated_by_name
from durable.core.replay.tries import FailedTry
from durable.core.retry import is_hopeless
from durable.core.run_options import Given
from durable.core.runs import RunKey
from durable.postgres.outages import is_outage, reason_of
from durable.postgres.pipeline import run
from durable.store.records import StepMemo
from durable.store.transaction_steps import Ownership, find_committed, forget_tries, store_transaction_memo
from durable.worker.clock import Clock
from durable.worker.database import Database
from durable.worker.outages import Outages
from durable.worker.run.failures import log_failed_try
from durable.worker.run.pulse import Pulse
from durable.worker.run.step_limits import thread_within_limits, within_limits
from durable.worker.threads import StepThreads, ThreadCall

_JITTER = 0.25
_OVERRUN_SECONDS = 5.0
"""How long a thread is waited for whose step has timed out. If its function has not returned by then, the step is given
up: a second try beside the first could do the same thing twice."""
_STILL_RUNS = "and its thread still runs, so that no other try may start"
_MAX_EXCUSED = 50
"""Conflicts and shortages in a row that do not use up a retry. There is a limit because a transaction that can never
succeed must end all the same."""


class Finished(msgspec.Struct, frozen=True):
    """The result of a step. ``attempts`` counts calls of the function, those of earlier tries included; ``took`` is in
    seconds."""

    outcome: Value | Failure
    attempts: int
    took: float
    input: str | None
    is_stored: bool

    def memo(self, call: Execute | Drawn, seq: int | None, at: datetime | None) -> StepMemo:
        """Returns the memo that the journal writes."""
        output = self.outcome.text if isinstance(self.outcome, Value) else None
        error = self.outcome.error.text if isinstance(self.outcome, Failure) else None
        return StepMemo(call.key, call.kind, seq, call.name, self.attempts, self.took, self.input, output, error, at)


Ended: TypeAlias = Finished | FailedTry


class Fenced(DurableError):
    """The run belongs to another worker by now; what this one did is rolled back."""


class Interrupted(DurableError):
    """The worker is stopping while the step waits for a thread or for the database; another worker may call it."""


class _DatabaseAway(Exception):
    """No connection could be had, or it was lost."""


class Before(msgspec.Struct, frozen=True):
    """What came before one try of a step: how many tries have failed, how many calls have been counted, and what the
    last one said with its heartbeat, encoded."""

    failures: int = 0
    calls: int = 0
    detail: str | None = None


class Try(msgspec.Struct, frozen=True):
    """One try of a step. ``codec`` encodes the output and ``of_input`` the arguments."""

    call: Execute
    run_key: RunKey
    given: Given
    codec: Codec
    of_input: Codec
    clock: Clock
    before: Before
    pulse: Pulse


def run_step(one: Try, threads: StepThreads) -> Coroutine[Any, Any, Ended]:
    """Calls the function of ``ctx.execute`` once. Raises ``Interrupted``."""
    call, pulse = one.call, one.pulse
    overrunning: ThreadCall | None = None

    async def attempt(what: str) -> str:
        nonlocal overrunning
        if call.signature.is_async:
            body = call.fn(*isolated(call.args), **isolated_by_name(call.kwargs))
            value = await (body if _is_unlimited(call) else within_limits(call, pulse, body))
        else:
            context = contextvars.copy_context()
            thread = await threads.begin(one.run_key, call.key, lambda: context.run(_call, call))
            if thread is None:
                raise Interrupted("the worker is stopping")
            overdue = await thread_within_limits(call, pulse, thread)
            if overdue is not None:
                thread.is_given_up = True
                overrunning = thread
                raise overdue
            value = thread.result()
            if asyncio.iscoroutine(value):
                value = await within_limits(call, pulse, value, spent=time.monotonic() - thread.started)
        return encode_as(one.codec, value, call.type, what)

    async def has_ended(seconds: float) -> bool:
        return overrunning is None or await overrunning.ends_within(seconds)

    return _one_try(one, attempt, has_ended, is_stored=False)


def _call(call: Execute) -> Any:
    try:
        return call.fn(*isolated(call.args), **isolated_by_name(call.kwargs))
    except (StopIteration, GeneratorExit) as error:
        # A coroutine does the same with StopIteration. No future can pass these on: its waiter would wait forever.
        raise RuntimeError(f"the step raised {type(error).__name__}") from error


def run_transaction(
    one: Try, database: Database, ownership: Ownership, outages: Outages, stopping: asyncio.Event
) -> Coroutine[Any, Any, Ended]:
    """Calls the function of ``ctx.transaction`` until no outage is in its way, and commits its work with its memo.
    Raises ``Fenced`` or ``Interrupted``."""
    call = one.call
    in_doubt = False
    excused = 0

    async def attempt(what: str) -> str:
        nonlocal excused
        duty = f"transaction {call.key!r} of run {one.run_key}"
        while True:
            try:
                text = await once(what)
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

    async def once(what: str) -> str:
        connection: psycopg.AsyncConnection[Any] | None = None
        try:
            if in_doubt and (memo := await _committed(call, database, ownership)) is not None:
                return memo
            async with database.transaction() as connection:
                return await within(connection, what)
        except psycopg.OperationalError as error:
            if connection is None or connection.closed:
                raise _DatabaseAway(str(error)) from error
            raise

    async def within(connection: psycopg.AsyncConnection[Any], what: str) -> str:
        nonlocal in_doubt
        body = call.fn(connection, *isolated(call.args), **isolated_by_name(call.kwargs))
        value = await within_limits(call, one.pulse, body)
        output = encode_as(one.codec, value, call.type, what)
        store = store_transaction_memo(
            ownership,
            step_key=call.key,
            fn=call.name,
            attempts=one.before.calls + 1,
            input=_input(one),
            output=output,
        )
        in_doubt = True
        try:
            is_ours = await run(connection, database.schema, store)
            if one.before.failures:
                await run(connection, database.schema, forget_tries(ownership, call.key))
        except (psycopg.DataError, psycopg.IntegrityError) as error:  # what a codec made of it is no JSON
            raise SerializationError(what, "$", f"cannot be stored: {reason_of(error)}") from None
        if not is_ours:
            raise Fenced(f"run {ownership.run_id} belongs to another worker")
        return output

    return _one_try(one, attempt, _at_once, is_stored=True)


async def _committed(call: Execute, database: Database, ownership: Ownership) -> str | None:
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


async def _one_try(
    one: Try,
    attempt: Callable[[str], Awaitable[str]],
    has_ended: Callable[[float], Awaitable[bool]],
    *,
    is_stored: bool,
) -> Ended:
    """``has_ended`` waits, for at most that many seconds, until nothing of the try is still being executed, and returns
    whether that is so."""
    call, run_key, before = one.call, one.run_key, one.before
    started = one.clock.monotonic()
    calls = before.calls + 1
    what = f"the output of {call}"

    def finished(outcome: Value | Failure, *, is_stored: bool = False) -> Finished:
        return Finished(outcome, calls, one.clock.monotonic() - started, _input(one), is_stored)

    try:
        one.codec.check_type(call.signature.returns, what)
    except SerializationError as error:
        return Finished(_failure(error), calls, 0.0, None, is_stored=False)
    try:
        enter_step(Step(run_key, call.key, calls, one.given, before.detail, one.codec, one.pulse.beat))
        return finished(Value(await attempt(what)), is_stored=is_stored)
    except (Fenced, Interrupted):
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or _is_being_cancelled():
            raise
        # With a GeneratorExit there is no telling whether the step raised it or the loop is being closed.
        delay = None if isinstance(error, GeneratorExit) else call.retry.next_delay(before.failures + 1, error)
        failed_at = time.monotonic()
        if not await has_ended(max(delay or 0.0, _OVERRUN_SECONDS)):
            error, delay = TimeoutError(f"{error}, {_STILL_RUNS}"), None
        if delay is not None:
            delay *= random.uniform(1 - _JITTER, 1 + _JITTER)
        log_failed_try(call, run_key, calls, error, delay)
        if delay is None:
            return finished(_failure(error))
        return FailedTry(error_info(error), max(delay - (time.monotonic() - failed_at), 0.0))


STEP_CODE = _one_try.__code__
"""A frame that executes it has the step as ``call`` and its run as ``run_key``."""


def _failure(error: BaseException) -> Failure:
    return Failure(error_info(error, is_final=is_hopeless(error)))


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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


def _is_unlimited(call: Execute) -> bool:
    return call.retry.timeout is None and call.retry.heartbeat is None


def _input(one: Try) -> str | None:
    """Returns the arguments, for people to read, ``None`` if they cannot be encoded; replay never reads them."""
    call = one.call
    try:
        return one.of_input.encode([*call.args, call.kwargs] if call.kwargs else call.args, "the input")
    except SerializationError:
        return None
