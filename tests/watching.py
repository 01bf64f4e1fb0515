"""What can be seen of a database and its runs, and how to wait for it."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import psycopg

from durable import AsyncClient

SECONDS = 20.0
"""How long anything may take that tests wait for."""


async def rows(dsn: str, query: Any, *params: Any) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(query, params)
        return await cursor.fetchall() if cursor.description else []


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


async def status_of(client: AsyncClient, run_key: Any) -> str:
    return (await client.get_run_info(run_key)).status


async def reached(client: AsyncClient, run_key: Any, status: str, seconds: float = SECONDS) -> None:
    async def is_there() -> bool:
        return await status_of(client, run_key) == status

    await until(is_there, seconds)
