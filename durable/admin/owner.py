"""The owner of the schema: whatever is created in it must belong to the owner like the rest of it, and only the owner
may delete runs."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.rows import tuple_row

_SESSION = "SET standard_conforming_strings = on; SET default_transaction_isolation = 'read committed'"


def connect(conninfo: str) -> Connection[tuple[Any, ...]]:
    """Opens a connection in autocommit mode on which our scripts mean what they say, whatever is set for the role or
    the database."""
    connection = psycopg.connect(conninfo, autocommit=True, client_encoding="utf8", row_factory=tuple_row)
    connection.execute(_SESSION)
    return connection


def act_as_owner(connection: Connection[Any], schema: str) -> None:
    """Makes the connection act as the schema's owner until the end of the transaction, if the owner is another role and
    the connection may assume it."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT rolname FROM pg_namespace JOIN pg_roles ON pg_roles.oid = nspowner"
            " WHERE nspname = %s AND rolname <> current_user AND pg_has_role(pg_roles.oid, %s)",
            [schema, "SET" if connection.info.server_version >= 160000 else "MEMBER"],
        )
        owner = cursor.fetchone()
        if owner is not None:
            cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner[0])))
