"""What is taken for a transaction, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import django.db
import pytest
import sqlalchemy
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import sessionmaker

from durable.client.async_client import AsyncClient
from durable.client.client import Client
from tests.client.workflows import greet
from tests.contrib.libraries import open_transaction

ROOT = Path(__file__).parents[2]
NOWHERE = "postgresql://nowhere.invalid/none"
NO_TRANSACTIONS = {
    "a str": lambda: "tx",
    "None": lambda: None,
    "a psycopg pool": lambda: ConnectionPool(NOWHERE, open=False),
    "an async psycopg pool": lambda: AsyncConnectionPool(NOWHERE, open=False),
    "an engine": lambda: sqlalchemy.create_engine("postgresql+psycopg://"),
    "an async engine": lambda: create_async_engine("postgresql+psycopg://"),
    "a sessionmaker": lambda: sessionmaker(),
    "asyncpg's pool": lambda: asyncpg.create_pool(NOWHERE),
    "Django's connections": lambda: django.db.connections,
    "Django's atomic": lambda: django.db.transaction.atomic(),
}


@pytest.mark.parametrize("name", NO_TRANSACTIONS)
async def test_what_is_no_transaction_is_told_what_is(name: str, database: str) -> None:
    made: Any = NO_TRANSACTIONS[name]()
    with Client(database) as client:
        with pytest.raises(TypeError, match=r"psycopg\.Connection .* SQLAlchemy's Connection .* Django's connection"):
            client.begin_tx(made, greet, "Ada")
    async with AsyncClient(database) as async_client:
        with pytest.raises(TypeError, match=r"psycopg\.AsyncConnection .* SQLAlchemy's AsyncConnection .* asyncpg's"):
            await async_client.begin_tx(made, greet, "Ada")


async def test_the_other_colour_is_told_its_client(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx:
        if tx.is_async:
            with Client(database) as client, pytest.raises(TypeError, match="is async; use AsyncClient"):
                client.begin_tx(tx.tx, greet, "Ada")
        else:
            async with AsyncClient(database) as async_client:
                with pytest.raises(TypeError, match="is sync; use Client"):
                    await async_client.begin_tx(tx.tx, greet, "Ada")


def test_another_database_is_refused_by_name(database: str) -> None:
    with Client(database) as client:
        with pytest.raises(TypeError, match="a Django connection to postgresql, got one to sqlite"):
            client.begin_tx(django.db.connections["elsewhere"], greet, "Ada")
        engine = sqlalchemy.create_engine("sqlite://")
        refused = pytest.raises(TypeError, match="an SQLAlchemy connection to postgresql, got one to sqlite")
        with engine.connect() as connection, refused:
            client.begin_tx(connection, greet, "Ada")
        engine.dispose()


def test_importing_durable_imports_none_of_the_libraries() -> None:
    code = (
        "import sys, durable, durable.postgres.transactions\n"
        "try: durable.postgres.transactions.sync_execute('no transaction')\n"
        "except TypeError: pass\n"
        "print({'sqlalchemy', 'django', 'asyncpg', 'greenlet'} & set(sys.modules) or 'none')"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout == "none\n"
