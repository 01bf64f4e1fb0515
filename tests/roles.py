"""The least privileged roles, for tests: made in a database, and taken by whoever connects.

With DURABLE_TEST_ROLES set, clients and workers that are made of a conninfo of the `database` fixture work as
`durable_client` and `durable_worker`; what a test does on connections of its own it does as it always did.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durable import AsyncClient, Client, Worker
from durable.admin.migration import roles_sql

is_asked_for = bool(os.environ.get("DURABLE_TEST_ROLES"))

NAMES = ("owner", "worker", "client", "viewer")

_limited: dict[Any, Any] = {}
"""The databases whose clients and workers are limited, each with the user whom its fixture names."""


def make_roles(conninfo: str, schema: str = "durable", prefix: str | None = None) -> None:
    """As `durable schema --roles` prints it; and, unlike there, they can log in."""
    password = conninfo_to_dict(conninfo).get("password")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(7)")  # roles are the server's, and tests run side by side
        connection.execute(roles_sql(schema, prefix=prefix).encode())
        for role in NAMES:
            login = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
            connection.execute(login.format(sql.Identifier(f"{prefix or schema}_{role}"), sql.Literal(password)))


def as_role(conninfo: str, role: str) -> str:
    """The same, for that role."""
    return make_conninfo(conninfo, user=role)


def limit(conninfo: str) -> None:
    """From now on clients and workers of that database have the rights of their roles. What the application owns is
    for the application to grant: here all that tests make in the schema public."""
    make_roles(conninfo)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "GRANT USAGE ON SCHEMA public TO PUBLIC;"
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO durable_worker;"
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO durable_worker"
        )
    named = conninfo_to_dict(conninfo)
    _limited[named["dbname"]] = named.get("user")


def take_roles() -> None:
    """Makes clients and workers take their roles, once in a process."""
    for made, role in ((Client, "durable_client"), (AsyncClient, "durable_client"), (Worker, "durable_worker")):
        made.__init__ = _with_role(made.__init__, role)  # type: ignore[method-assign]


def _with_role(init: Callable[..., None], role: str) -> Callable[..., None]:
    @functools.wraps(init)
    def initialise(self: object, conninfo_or_pool: Any, *arguments: Any, **options: Any) -> None:
        schema = options.get("schema", "durable")
        if isinstance(schema, str) and schema == "durable":
            conninfo_or_pool = limited_to(role, conninfo_or_pool)
        init(self, conninfo_or_pool, *arguments, **options)

    return initialise


def limited_to(role: str, conninfo_or_pool: Any) -> Any:
    """The same for that role, where it leads to a database whose clients and workers are limited, unless the test has
    chosen another user."""
    try:
        named = conninfo_to_dict(conninfo_or_pool)
        is_limited = named.get("dbname") in _limited and named.get("user") == _limited[named["dbname"]]
    except (psycopg.Error, TypeError, UnicodeError, ValueError, AttributeError):
        return conninfo_or_pool  # a pool; or what the test knows to be refused
    return as_role(conninfo_or_pool, role) if is_limited else conninfo_or_pool
