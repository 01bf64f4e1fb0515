"""What can be seen of a database and its runs, and how to wait for it."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, LiteralString, cast

import psycopg

from durable import AsyncClient
from durable.store.channels import TICKETS, numbered_channel, work_channel

SECONDS = 20.0
"""How long anything may take that tests wait for."""


async def rows(dsn: str, query: Any, *params: Any) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(query, params)
        return await cursor.fetchall() if cursor.description else []


WRITE_DOWN_JIT = """
    CREATE TABLE written (table_name text, jit text, UNIQUE (table_name, jit));
    CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO public.written VALUES (tg_table_name, current_setting('jit')) ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$;
    CREATE TRIGGER write_down AFTER UPDATE ON durable.runs EXECUTE FUNCTION write_down();
    CREATE TRIGGER write_down AFTER UPDATE ON durable.workers EXECUTE FUNCTION write_down()"""
"""Has the table ``written`` say in which sessions the engine changes its runs and sends its heartbeats."""
JIT_IS_OFF = [("runs", "off"), ("workers", "off")]


async def until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """The first true answer, awaited where it is to be; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within {seconds} s: {condition}")


def listen_to_work(schema: str = "durable") -> LiteralString:
    """Makes a connection hear all that is announced to workers, and each run once, on the channel of its ticket."""
    channels = [work_channel(schema), *(numbered_channel(schema, ticket) for ticket in range(TICKETS))]
    return cast("LiteralString", "; ".join(f"LISTEN {channel}" for channel in channels))


def without_tickets(payloads: Iterable[str]) -> list[str]:
    """What was announced, without the numbers that say which worker comes first."""
    return [re.sub(r"^first:\d+:", "first:", payload) for payload in payloads]


async def status_of(client: AsyncClient, run_key: Any) -> str:
    return (await client.get_run_info(run_key)).status


async def reached(client: AsyncClient, run_key: Any, status: str, seconds: float = SECONDS) -> None:
    async def is_there() -> bool:
        return await status_of(client, run_key) == status

    await until(is_there, seconds)
