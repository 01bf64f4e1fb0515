"""Runs operations in the caller's transaction: the only place where such a procedure becomes sync or async."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable.postgres.transactions import async_execute, check_open, check_open_async, sync_execute
from durable.store.operation import Operation, Running
from durable.store.statement import Begin, Commit, Compute, Request, Statement, T


def take_part(tx: object, schema: str, operation: Operation[T]) -> T:
    """Runs an operation in the caller's transaction, and never ends that transaction. Raises ``NotInTransaction`` if
    none is open on ``tx``, and what ``run`` raises."""
    check_open(tx)
    return run(tx, schema, operation)


async def take_part_async(tx: object, schema: str, operation: Operation[T]) -> T:
    """The async counterpart of ``take_part``."""
    await check_open_async(tx)
    return await run_async(tx, schema, operation)


def run(tx: object, schema: str, operation: Operation[T]) -> T:
    """Runs an operation to its end, in the transaction that is open on ``tx``, if any, and never ends that transaction.

    The error of a failed statement is raised inside the operation. Raises ``TypeError`` if ``tx`` is not a synchronous
    connection.
    """
    execute = sync_execute(tx)
    running = Running(operation)
    while running.request is not None:
        try:
            rows = [execute(asked.query.text(schema), asked.params) for asked in _statements(running.request)]
        except Exception as error:
            running.fail(error)
        else:
            running.answer(rows)
    return running.result


async def run_async(tx: object, schema: str, operation: Operation[T]) -> T:
    """Like ``run``, on an async connection."""
    execute = async_execute(tx)
    running = Running(operation)
    while running.request is not None:
        try:
            rows = [await execute(asked.query.text(schema), asked.params) for asked in _statements(running.request)]
        except Exception as error:
            running.fail(error)
        else:
            running.answer(rows)
    return running.result


def _statements(request: Request) -> Sequence[Statement[Any]]:
    if isinstance(request, Begin | Commit | Compute):
        raise TypeError(f"an operation in the caller's transaction may not ask for a {type(request).__name__}")
    return request.statements
