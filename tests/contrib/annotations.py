"""What type checkers take for a transaction. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any

import asyncpg
import psycopg
import sqlalchemy
from asyncpg.pool import PoolConnectionProxy
from django.db import connection, connections
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from durable import AsyncClient, Client, Context, workflow


@workflow
async def nightly(ctx: Context) -> None: ...


def accepted(
    client: Client,
    a: psycopg.Connection[Any],
    b: psycopg.Cursor[Any],
    c: sqlalchemy.Connection,
    d: Session,
    e: scoped_session[Session],
) -> None:
    client.begin_tx(a, nightly)
    client.begin_tx(b, nightly)
    client.begin_tx(c, nightly)
    client.begin_tx(d, nightly)
    client.begin_tx(e, nightly)
    client.begin_tx(connection, nightly)
    client.begin_tx(connections["default"], nightly)
    client.publish_event_tx(d, "greet_0:1", "paid")


async def accepted_async(
    client: AsyncClient,
    a: psycopg.AsyncConnection[Any],
    b: psycopg.AsyncCursor[Any],
    c: AsyncConnection,
    d: AsyncSession,
    e: async_scoped_session[AsyncSession],
    f: asyncpg.Connection,
    g: PoolConnectionProxy,
    pool: asyncpg.Pool,
) -> None:
    await client.begin_tx(a, nightly)
    await client.begin_tx(b, nightly)
    await client.begin_tx(c, nightly)
    await client.begin_tx(d, nightly)
    await client.begin_tx(e, nightly)
    await client.begin_tx(f, nightly)
    await client.begin_tx(g, nightly)
    await client.begin_tx(await asyncpg.connect(), nightly)
    async with pool.acquire() as lent:
        await client.begin_tx(lent, nightly)
    await client.publish_event_tx(d, "greet_0:1", "paid")


def refused(
    client: Client,
    a: psycopg.AsyncConnection[Any],
    b: ConnectionPool[Any],
    c: sqlalchemy.Engine,
    d: sessionmaker[Session],
    e: AsyncConnection,
    f: AsyncSession,
) -> None:
    client.cancel_run_tx(a, "")  # type: ignore[arg-type]
    client.cancel_run_tx(b, "")  # type: ignore[arg-type]
    client.cancel_run_tx(c, "")  # type: ignore[arg-type]
    client.cancel_run_tx(d, "")  # type: ignore[arg-type]
    client.cancel_run_tx(e, "")  # type: ignore[arg-type]
    client.cancel_run_tx(f, "")  # type: ignore[arg-type]
    client.cancel_run_tx("tx", "")  # type: ignore[arg-type]
    client.cancel_run_tx(None, "")  # type: ignore[arg-type]
    client.cancel_run_tx({}, "")  # type: ignore[arg-type]


async def refused_async(
    client: AsyncClient,
    a: psycopg.Connection[Any],
    b: AsyncConnectionPool[Any],
    c: AsyncEngine,
    d: sqlalchemy.Connection,
    e: Session,
) -> None:
    await client.cancel_run_tx(a, "")  # type: ignore[arg-type]
    await client.cancel_run_tx(b, "")  # type: ignore[arg-type]
    await client.cancel_run_tx(c, "")  # type: ignore[arg-type]
    await client.cancel_run_tx(d, "")  # type: ignore[arg-type]
    await client.cancel_run_tx(e, "")  # type: ignore[arg-type]
    await client.cancel_run_tx("tx", "")  # type: ignore[arg-type]
    await client.cancel_run_tx(None, "")  # type: ignore[arg-type]
