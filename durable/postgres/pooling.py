"""Recognizes a pooler that allows no transactions, which would otherwise look like a server that keeps hanging up."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import AsyncConnection

from durable.core.errors import DurableError

_WORDS = "statement pooling"
"""PgBouncer sends no code of its own: 08P01, a broken protocol, and then it hangs up."""


def refuse_statement_pooling(error: psycopg.Error) -> None:
    """Raises ``DurableError`` if that is what the error is about."""
    if isinstance(error, psycopg.errors.ProtocolViolation) and _WORDS in str(error):
        raise DurableError(
            "durable needs session or transaction pooling, but the pooler in front of this database pools statements "
            "and allows no transactions; set pool_mode = transaction in PgBouncer, or connect to the server directly"
        ) from error


async def check_pooling(connection: AsyncConnection[Any]) -> None:
    """Tries whether the pooler in front of the server allows transactions. Raises ``DurableError`` if it does not."""
    try:
        await connection.execute("BEGIN")
        await connection.execute("ROLLBACK")
    except psycopg.Error as error:
        refuse_statement_pooling(error)
        raise
