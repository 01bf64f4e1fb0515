"""A real Postgres for the tests: that of DURABLE_TEST_DSN, or one started for the session."""

from __future__ import annotations

import asyncio
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

_numbers = count(1)


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
    from durable.embedded import EmbeddedPostgres

    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), fsync=False) as server:
        yield server.conninfo


@pytest.fixture(scope="session")
def template(server_dsn: str) -> Iterator[str]:
    """The name of a migrated database that is only ever copied."""
    from durable.migrate import migrate

    with new_database(server_dsn) as conninfo:
        migrate(conninfo)
        yield _name_of(conninfo)


@pytest.fixture
def database(server_dsn: str, template: str) -> Iterator[str]:
    """A conninfo of a migrated, empty database."""
    with new_database(server_dsn, template) as conninfo:
        yield conninfo


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


def _name_of(conninfo: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"])
