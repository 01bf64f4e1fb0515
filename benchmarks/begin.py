"""How many runs per second an application begins: one after the other, each in a transaction of its own; 100 in each of
the caller's transactions (`begin_tx`); in batches (`begin_many`); and from 32 tasks at once. No worker is running.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import psycopg

from benchmarks.setting import SCHEMA, Figure, Setting, fresh_schema
from benchmarks.workflows import steps
from durable import AsyncClient

_CLIENTS = 32
_A_TRANSACTION = 100
_A_BATCH = 5_000


async def measure(setting: Setting) -> list[Figure]:
    one, many, batch = setting.size(2_000, 20), setting.size(20_000, 200), setting.size(50_000, 100)
    return [
        await _rate(setting, "one by one, `begin`", one, _one_by_one),
        await _rate(setting, f"{_CLIENTS} at once, `begin`", many, _at_once),
        await _rate(setting, f"{_A_TRANSACTION} a transaction, `begin_tx`", many, _in_transactions),
        await _rate(setting, f"{_A_BATCH:,} a batch, `begin_many`", batch, _in_batches),
    ]


async def _rate(
    setting: Setting, name: str, runs: int, begin: Callable[[AsyncClient, str, int], Awaitable[None]]
) -> Figure:
    rates: list[float] = []
    for _ in range(setting.rounds):
        with fresh_schema(setting.dsn) as look:
            async with AsyncClient(setting.dsn, schema=SCHEMA) as client:
                await client.begin(steps, 1)  # opens the connection and prepares the statements
                started = time.perf_counter()
                await begin(client, setting.dsn, runs)
                rates.append(runs / (time.perf_counter() - started))
            assert look.execute(f"SELECT count(*) FROM {SCHEMA}.runs").fetchone() == (runs + 1,)
    return Figure(name, "runs/s", rates)


async def _one_by_one(client: AsyncClient, _: str, runs: int) -> None:
    for _number in range(runs):
        await client.begin(steps, 1)


async def _at_once(client: AsyncClient, _: str, runs: int) -> None:
    left = iter(range(runs))

    async def begin() -> None:
        for _number in left:
            await client.begin(steps, 1)

    await asyncio.gather(*(begin() for _client in range(_CLIENTS)))


async def _in_transactions(client: AsyncClient, dsn: str, runs: int) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        for _ in range(runs // _A_TRANSACTION):
            async with connection.transaction():
                for _number in range(_A_TRANSACTION):
                    await client.begin_tx(connection, steps, 1)


async def _in_batches(client: AsyncClient, _: str, runs: int) -> None:
    for first in range(0, runs, _A_BATCH):
        await client.begin_many(steps, [1] * min(_A_BATCH, runs - first))
