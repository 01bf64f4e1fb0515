"""A real Postgres for the tests: that of DURABLE_TEST_DSN, or one started for the session."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from durable.admin.migration import migrate
from durable.embedded import EmbeddedPostgres
from durable.store.migrations import latest_version
from tests import roles
from tests.states import refuse_other_transitions

_numbers = count(1)

if roles.is_asked_for:
    roles.take_roles()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs `async def` tests, each on a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on which databases may be created."""
    given = os.environ.get("DURABLE_TEST_DSN")
    if given:
        yield given
        return
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), fsync=False) as server:
        yield server.conninfo


class _Reused:
    """One migrated database for many tests: emptying it takes milliseconds, a copy of a template 130 of them."""

    def __init__(self, server_dsn: str) -> None:
        self._server_dsn = server_dsn
        self._opened = contextlib.ExitStack()
        self._connection: psycopg.Connection[Any] | None = None
        self._conninfo = ""
        self._catalog: Any = None

    def take(self) -> str:
        if self._connection is None:
            self._conninfo = self._opened.enter_context(new_database(self._server_dsn))
            migrate(self._conninfo)
            self._connection = self._opened.enter_context(
                psycopg.connect(self._conninfo, autocommit=True, application_name="fixture")
            )
            refuse_other_transitions(self._connection)
            self._catalog = self._read_catalog(self._connection)
        if roles.is_asked_for:
            roles.limit(self._conninfo)
        return self._conninfo

    def give_back(self) -> None:
        if self._connection is None:
            return
        try:
            self._empty(self._connection)
            if self._read_catalog(self._connection) != self._catalog:
                self._connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            is_changed = self._read_catalog(self._connection) != self._catalog
        except psycopg.Error:
            is_changed = True
        if is_changed:
            self.drop()

    def drop(self) -> None:
        self._opened.close()
        self._connection = None

    def _empty(self, connection: psycopg.Connection[Any]) -> None:
        tables = ("runs", "steps", "waits", "events", "chapters", "schedules", "workers", "workflow_pauses")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid();"
            + "".join(f"DELETE FROM durable.{table};" for table in tables)
            + f"UPDATE durable.settings SET schema_version = {latest_version()}, shard_count = 1,"
            " shard_counts = '{1}', raising_to = NULL"
        )

    def _read_catalog(self, connection: psycopg.Connection[Any]) -> Any:
        return connection.execute(
            "SELECT nspname, relname, relkind, relnatts FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
            " UNION ALL SELECT '', extname, '', 0 FROM pg_extension"
            " UNION ALL SELECT '', proname, '', 0 FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace"
            " WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
            " UNION ALL SELECT '', tgname, '', 0 FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"
        ).fetchall()


@pytest.fixture(scope="session")
def _reused(server_dsn: str) -> Iterator[_Reused]:
    reused = _Reused(server_dsn)
    yield reused
    reused.drop()


@pytest.fixture
def database(_reused: _Reused) -> Iterator[str]:
    """A conninfo of a migrated, empty database."""
    yield _reused.take()
    _reused.give_back()


@pytest.fixture
def bare_database(server_dsn: str) -> Iterator[str]:
    """A conninfo of a database without our schema."""
    with new_database(server_dsn) as conninfo:
        yield conninfo


@contextmanager
def new_database(server_dsn: str, template: str = "template0") -> Iterator[str]:
    name = f"durable_test_{uuid4().hex[:12]}_{next(_numbers)}"
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        # Copying files beats writing the pages through the log, for which 15 and later would decide.
        strategy = "STRATEGY file_copy" if admin.info.server_version >= 150000 else ""
        _admin(admin, f"CREATE DATABASE {{}} TEMPLATE {{}} {strategy}", name, template)
        try:
            yield make_conninfo(server_dsn, dbname=name)
        finally:
            _admin(admin, "DROP DATABASE {} WITH (FORCE)", name)


def _admin(admin: psycopg.Connection[Any], statement: str, *names: str) -> None:
    admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]
