"""Which text a session can carry. Ours is UTF-8, whatever the caller's session and the database are set to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.pq import TransactionStatus

from durable.core.errors import SchemaError

_UTF8 = "UTF8"
_SET = "SELECT pg_catalog.set_config('client_encoding', %s, %s)"


def check_encoding(connection: Connection[Any] | AsyncConnection[Any]) -> None:
    """Raises ``SchemaError`` unless the database stores UTF-8. Others lack characters, and SQL_ASCII takes any bytes
    for text, which nobody can read afterwards."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, _UTF8):
        raise SchemaError(
            f"the database {connection.info.dbname!r} must have the encoding UTF8, got {encoding}; create another with "
            "CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8', and move what is in this one"
        )


@contextmanager
def in_utf8(connection: Connection[Any]) -> Generator[None]:
    """Lets the caller's session carry any text during the block, and restores what it is set to."""
    before = _other_encoding(connection)
    if before is None:
        yield
        return
    is_local = not _is_between_transactions(connection)
    with Cursor(connection) as cursor:
        cursor.execute(_SET, [_UTF8, is_local])
        try:
            yield
        finally:
            if _is_usable(connection):
                cursor.execute(_SET, [before, is_local])


@asynccontextmanager
async def async_in_utf8(connection: AsyncConnection[Any]) -> AsyncGenerator[None]:
    """The async counterpart of ``in_utf8``."""
    before = _other_encoding(connection)
    if before is None:
        yield
        return
    is_local = not _is_between_transactions(connection)
    async with AsyncCursor(connection) as cursor:
        await cursor.execute(_SET, [_UTF8, is_local])
        try:
            yield
        finally:
            if _is_usable(connection):
                await cursor.execute(_SET, [before, is_local])


def _other_encoding(connection: Connection[Any] | AsyncConnection[Any]) -> str | None:
    if connection.closed:
        return None
    encoding = connection.info.parameter_status("client_encoding")
    return None if encoding == _UTF8 else encoding


def _is_between_transactions(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    return connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE


def _is_usable(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Returns whether a statement can be run. If not, the transaction has failed, and its end restores the setting."""
    return not connection.closed and connection.info.transaction_status != TransactionStatus.INERROR
