"""Django's connections to PostgreSQL, on psycopg 3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.types.datetime import TimestamptzLoader

from durable.core.errors import NotInTransaction
from durable.postgres.transactions import AsyncExecute, Execute
from durable.store.statement import Rows

_PLACEHOLDER = re.compile(r"%\(\w+\)s")


def sync_execute(tx: Any) -> Execute | None:
    """Returns how to run a statement on ``django.db.connection`` or ``connections[…]``. Raises ``TypeError`` for
    another database; the function raises ``NotInTransaction`` outside ``atomic``."""
    # Recognized by its vendor instead of its class: django.db.connection is a proxy, and so are objects that are not
    # connections.
    vendor = getattr(tx, "vendor", None)
    if vendor is None:
        return None
    if vendor != "postgresql":
        raise TypeError(f"tx must be a Django connection to postgresql, got one to {vendor}")

    def execute(sql: LiteralString, params: Mapping[str, Any]) -> Rows:
        if not tx.in_atomic_block and tx.get_autocommit():
            raise NotInTransaction("Django connection", "`with transaction.atomic():`")
        with tx.cursor() as cursor:
            if not isinstance(tx.connection, Connection):
                raise TypeError(f"tx must be a Django connection on psycopg 3, got {type(tx.connection).__module__}")
            # If USE_TZ is off, Django removes the time zone from what it reads.
            cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
            cursor.execute(_bracketed(sql), params)
            return cursor.fetchall() if cursor.description else []

    return execute


def async_execute(_: object) -> AsyncExecute | None:
    """Returns ``None``: Django has no async connections."""
    return None


@cache
def _bracketed(sql: str) -> str:
    # Django writes the values into the SQL, where a cast binds more closely than a minus sign.
    return _PLACEHOLDER.sub(r"(\g<0>)", sql)
