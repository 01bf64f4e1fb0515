"""Waits for the transactions that may go by former settings."""

from __future__ import annotations

import logging
import time
from typing import Any

from psycopg import Connection, sql

_logger = logging.getLogger("durable.admin")

_LOOK_SECONDS = 0.05
_TELL_SECONDS = 10.0

# A transaction that has read a table holds this lock until it ends, even after it has been prepared.
_READERS = """
    SELECT virtualtransaction
    FROM pg_catalog.pg_locks
    WHERE locktype = 'relation' AND granted AND mode = 'AccessShareLock'
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
      AND relation = {}::pg_catalog.regclass
      AND pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
"""


def wait_for_readers(connection: Connection[Any], schema: str) -> None:
    """Returns once every transaction that has read the settings by now has ended, however long that takes. Those that
    read them later see what is committed now. Must be called outside a transaction."""
    earlier = _readers(connection, schema)
    told = time.monotonic()
    while earlier:
        time.sleep(_LOOK_SECONDS)
        earlier &= _readers(connection, schema)
        if earlier and time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            _logger.info("raising the shard count waits for %d transactions to end", len(earlier))


def _readers(connection: Connection[Any], schema: str) -> set[str]:
    settings = sql.Identifier(schema, "settings").as_string(connection)
    return {row[0] for row in connection.execute(sql.SQL(_READERS).format(sql.Literal(settings))).fetchall()}
