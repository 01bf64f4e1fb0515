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
from durable.store.operation import Operation, operation
from durable.store.statement import Batch, Begin, Commit, Request, Requests, T
from tests.mediating import mediated, names_of, overheard

DIE_AT = ("after-effect", "before-commit", "after-commit", "before-memo", "after-memo", "mid-claim", "mid-renew")
"""Where a worker can die: after a step's function, within and after a transaction of the engine's, most of which are
flushes of the journal, before and after a transaction step is committed with its memo, with runs claimed and not yet
begun, and about to beat."""

_STORE_MEMO = "transaction_steps/store_transaction_memo"
_CLAIM_RUNS = "claims/claim_runs"


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
        "before-commit": _running(lambda asked: _before_commit(asked, counter)),
        "after-commit": _running(lambda asked: _after_commit(asked, counter)),
        "before-memo": _running(lambda asked: _after_answer(asked, _STORE_MEMO, counter)),
        "after-memo": (durable.worker.run.step_calls.run_transaction, lambda original: _after(original, counter)),
        "mid-claim": _running(lambda asked: _at_its_end(asked, _CLAIM_RUNS, counter)),
    }
    _wrap(*wrapped[failpoint.point])


def set_everywhere(name: str, value: object) -> None:
    """Gives a constant of the engine another value in this process. Raises ``LookupError`` if there is none."""
    places = [
        module
        for module_name, module in list(sys.modules.items())
        if module_name.startswith("durable") and hasattr(module, name)
    ]
    if not places:
        raise LookupError(f"{name} is nowhere to be set")
    for module in places:
        setattr(module, name, value)


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


def _after(original: Callable[..., Awaitable[Any]], counter: _Counter) -> Callable[..., Awaitable[Any]]:
    async def wrapper(*args: Any, **options: Any) -> Any:
        result = await original(*args, **options)
        counter.passed()
        return result

    return wrapper


def _sync_before(original: Callable[..., Any], counter: _Counter) -> Callable[..., Any]:
    def wrapper(*args: Any, **options: Any) -> Any:
        counter.passed()
        return original(*args, **options)

    return wrapper


def _running(change: Callable[[Operation[Any]], Operation[Any]]) -> tuple[Any, Callable[[Any], Any]]:
    """What runs the operations of a worker, to be given others in their place."""

    def make(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def run(connection: Any, schema: str, asked: Operation[Any], *limits: Any) -> Any:
            return await original(connection, schema, change(asked), *limits)

        return run

    return durable.postgres.pipeline.run, make


@operation
def _before_commit(asked: Operation[T], counter: _Counter) -> Requests[T]:
    """Dies with all statements of the transaction executed, and not committed."""
    is_begun = False

    def ask(request: Request) -> Requests[Any]:
        nonlocal is_begun
        if not isinstance(request, Commit):
            is_begun |= isinstance(request, Begin)
            return (yield request)
        answers = yield (Batch if is_begun else Begin)(request.statements)
        counter.passed()
        is_begun = False
        return [*answers, *(yield Commit((), then=request.then))]

    return (yield from mediated(asked, ask))


def _after_commit(asked: Operation[T], counter: _Counter) -> Operation[T]:
    """Dies before the operation learns that it has committed."""

    def answered(request: Request) -> None:
        if isinstance(request, Commit):
            counter.passed()

    return overheard(asked, answered)


def _after_answer(asked: Operation[T], statement: str, counter: _Counter) -> Operation[T]:
    def answered(request: Request) -> None:
        if statement in names_of(request):
            counter.passed()

    return overheard(asked, answered)


@operation
def _at_its_end(asked: Operation[T], statement: str, counter: _Counter) -> Requests[T]:
    """Dies when an operation that has asked this statement is over, and nobody has its result."""
    names: list[str] = []
    result = yield from overheard(asked, lambda request: names.extend(names_of(request)))
    if statement in names:
        counter.passed()
    return result
