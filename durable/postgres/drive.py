"""Runs operations on a connection: the one place where a procedure gets its colour."""

from __future__ import annotations

from durable.postgres.transactions import async_execute, sync_execute
from durable.store.statement import Op, T


def run(tx: object, operation: Op[T]) -> T:
    """Runs an operation to its end, in the transaction that is open there, if one is; ends none.

    A statement that fails is thrown into the operation. Raises ``TypeError`` for what is no synchronous connection.
    """
    execute = sync_execute(tx)
    try:
        statement = next(operation)
        while True:
            try:
                rows = execute(statement)
            except Exception as error:
                statement = operation.throw(error)
            else:
                statement = operation.send(rows)
    except StopIteration as end:
        result: T = end.value
        return result


async def run_async(tx: object, operation: Op[T]) -> T:
    """The same on an async connection."""
    execute = async_execute(tx)
    try:
        statement = next(operation)
        while True:
            try:
                rows = await execute(statement)
            except Exception as error:
                statement = operation.throw(error)
            else:
                statement = operation.send(rows)
    except StopIteration as end:
        result: T = end.value
        return result
