"""The owner of the schema: whatever is created in it must belong to the owner like the rest of it, and only the owner
may delete runs."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, sql
from psycopg.rows import tuple_row


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
