"""durable, at its defaults."""

from __future__ import annotations

import asyncio
import sys

import psycopg

from benchmarks.workflows import steps
from durable import AsyncClient, Worker
from durable.migrate import migrate

_LOOK_SECONDS = 0.05
_IS_OPEN = "SELECT EXISTS (SELECT FROM durable.runs WHERE status IN ('queued', 'running'))"
_SECONDS = "SELECT extract(epoch FROM max(completed_at) - min(started_at))::float8, count(*) FROM durable.runs"


async def main(dsn: str, runs: int, count: int) -> float:
    async with AsyncClient(dsn) as client:
        await client.begin_many(steps, [count] * runs)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as look, Worker(dsn, [steps]):
        while await (await look.execute(_IS_OPEN)).fetchone() == (True,):
            await asyncio.sleep(_LOOK_SECONDS)
        row = await (await look.execute(_SECONDS)).fetchone()
    assert row is not None
    assert row[1] == runs
    return float(row[0])


if __name__ == "__main__":
    migrate(sys.argv[1])
    print(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
