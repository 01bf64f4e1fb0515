"""Faults from within a worker process: functions of the engine are wrapped from outside, here, and nowhere in it.

Each fault leaves a row in ``evidence``, on a connection of its own, before it happens.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import psycopg

import durable.postgres.pipeline
import durable.store.workers
import durable.worker.executions
import durable.worker.lease
import durable.worker.run.step_calls
from durable.store.queries import query

DIE_AT = ("after-effect", "before-commit", "after-commit", "before-memo", "after-memo", "mid-claim", "mid-renew")
"""Where a worker can die: after a step's function, within and after the flush of the journal, before and after a
transaction step is committed with its memo, with runs claimed and not yet begun, and about to beat."""


class Failpoint(msgspec.Struct, frozen=True):
    """Dies at the ``hit``-th time (1-based) that the point is passed."""

    point: str
    hit: int


class _Counter:
    def __init__(self, failpoint: Failpoint, conninfo: str) -> None:
        self._name = failpoint.point
        self._left = failpoint.hit
        self._conninfo = conninfo

    def passed(self) -> None:
        self._left -= 1
        if self._left == 0:
            evidence(self._conninfo, self._name)
            os.kill(os.getpid(), signal.SIGKILL)


def evidence(conninfo: str, name: str) -> None:
    """Notes that the fault of that name is about to happen in this process."""
    with psycopg.connect(conninfo, autocommit=True, application_name=f"evidence-{os.getpid()}") as connection:
        connection.execute("INSERT INTO evidence (name, process_id) VALUES (%s, %s)", (name, os.getpid()))


def install(failpoint: Failpoint, conninfo: str) -> None:
    """Arms one failpoint in this process. Raises ``LookupError`` if the engine has no such place any more."""
    counter = _Counter(failpoint, conninfo)
    if failpoint.point == "mid-renew":
        _wrap(durable.store.workers.beat, lambda original: _sync_before(original, counter))
        return
    wrapped: dict[str, tuple[Any, Callable[[Any], Any]]] = {
        "after-effect": (durable.worker.run.step_calls.run_step, lambda original: _after(original, counter)),
        "before-commit": (durable.postgres.pipeline.commit, lambda _: _within_commit(counter)),
        "after-commit": (durable.postgres.pipeline.commit, lambda original: _after(original, counter)),
        "before-memo": (
            durable.postgres.pipeline.run,
            lambda original: _after(original, counter, "transaction_steps/store_transaction_memo"),
        ),
        "after-memo": (durable.worker.run.step_calls.run_transaction, lambda original: _after(original, counter)),
        "mid-claim": (
            durable.postgres.pipeline.read_all,
            lambda original: _after(original, counter, "claims/claim_runs"),
        ),
    }
    _wrap(*wrapped[failpoint.point])


def _wrap(original: Any, make: Callable[[Any], Any]) -> None:
    """Puts the wrapper wherever a module of the engine has imported the original."""
    wrapper = make(original)
    places = [
        (module, name)
        for module_name, module in list(sys.modules.items())
        if module_name.startswith("durable")
        for name, value in list(vars(module).items())
        if value is original
    ]
    if not places:
        raise LookupError(f"{original} is nowhere to be wrapped")
    for module, name in places:
        setattr(module, name, wrapper)


def _after(
    original: Callable[..., Awaitable[Any]], counter: _Counter, statement: str | None = None
) -> Callable[..., Awaitable[Any]]:
    text = None if statement is None else query(statement, "durable")

    async def wrapper(*args: Any, **options: Any) -> Any:
        result = await original(*args, **options)
        if text is None or text in _texts(args):
            counter.passed()
        return result

    return wrapper


def _within_commit(counter: _Counter) -> Callable[..., Awaitable[Any]]:
    """Dies with all statements of the transaction executed, and not committed."""

    async def wrapper(connection: Any, statements: Any, *, following: Any = (), then: Any = ()) -> list[Any]:
        async with connection.transaction():
            answers = last = [await durable.postgres.pipeline.run(connection, statement) for statement in statements]
            for stage in following:
                last = [await durable.postgres.pipeline.run(connection, statement) for statement in stage(last)]
                answers = [*answers, *last]
            counter.passed()
        return [*answers, *[await durable.postgres.pipeline.run(connection, statement) for statement in then]]

    return wrapper


def _sync_before(original: Callable[..., Any], counter: _Counter) -> Callable[..., Any]:
    def wrapper(*args: Any, **options: Any) -> Any:
        counter.passed()
        return original(*args, **options)

    return wrapper


def _texts(args: tuple[Any, ...]) -> list[str]:
    statements = args[1] if isinstance(args[1], list | tuple) else [args[1]]
    return [statement.sql for statement in statements]
