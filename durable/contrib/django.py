"""Django's connections to PostgreSQL, on psycopg 3."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.types.datetime import TimestamptzLoader

from durable.postgres.transactions import AsyncExecute, Execute
from durable.store.statement import Rows

_PLACEHOLDER = re.compile(r"%\(\w+\)s")


def sync_execute(tx: Any) -> Execute | None:
    """In ``django.db.connection`` or ``connections[…]``. Raises ``TypeError`` for another database."""
    # By its vendor, not its class: django.db.connection is a proxy, and so are objects that are no connections.
    vendor = getattr(tx, "vendor", None)
    if vendor is None:
        return None
    if vendor != "postgresql":
        raise TypeError(f"tx is a Django connection to {vendor}; one to postgresql is accepted")

    def execute(sql: LiteralString, params: Mapping[str, Any]) -> Rows:
        with tx.cursor() as cursor:
            if not isinstance(tx.connection, Connection):
                raise TypeError(f"tx is a Django connection on {type(tx.connection).__module__}; psycopg 3 is accepted")
            # Where USE_TZ is off, Django takes the time zone from what it reads.
            cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
            cursor.execute(_bracketed(sql), params)
            return cursor.fetchall() if cursor.description else []

    return execute


def async_execute(_: object) -> AsyncExecute | None:
    """Django has no async connection."""
    return None


@cache
def _bracketed(sql: str) -> str:
    # Django writes the values into the SQL, where a cast binds more closely than a minus sign.
    return _PLACEHOLDER.sub(r"(\g<0>)", sql)
