"""Absurd (`absurd-sdk`), with several connections: each of its workers has one, on which its tasks take turns."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import absurdctl
import psycopg
from absurd_sdk import AsyncAbsurd

_WORKERS = 4
_CONCURRENCY = 25
_A_BATCH = 100
_POLL_SECONDS = 0.05
_OPEN = "SELECT count(*) FROM absurd.t_default WHERE state <> 'completed'"
_SECONDS = "SELECT extract(epoch FROM max(completed_at) - min(started_at))::float8, count(*) FROM absurd.r_default"


def worker(dsn: str) -> AsyncAbsurd:
    app = AsyncAbsurd(dsn)

    @app.register_task("steps")
    async def steps(params: dict[str, Any], ctx: Any) -> int:
        number = 0
        for index in range(params["count"]):

            async def increment(number: int = number) -> int:
                return number + 1

            number = await ctx.step(f"step {index}", increment)
        return number

    return app


async def main(dsn: str, runs: int, count: int) -> float:
    app = worker(dsn)
    await app.create_queue("default")
    for _ in range(runs):
        await app.spawn("steps", {"count": count})
    workers = [app, *(worker(dsn) for _ in range(_WORKERS - 1))]
    working = [
        asyncio.create_task(each.start_worker(concurrency=_CONCURRENCY, batch_size=_A_BATCH, poll_interval=0.05))
        for each in workers
    ]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as look:
        while await (await look.execute(_OPEN)).fetchone() != (0,):
            await asyncio.sleep(_POLL_SECONDS)
        row = await (await look.execute(_SECONDS)).fetchone()
    for each in workers:
        each.stop_worker()
    await asyncio.gather(*working)
    for each in workers:
        await each.close()
    assert row is not None
    assert row[1] == runs
    return float(row[0])


if __name__ == "__main__":
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        connection.execute(absurdctl.BUNDLED_SCHEMA_SQL)
    print(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
