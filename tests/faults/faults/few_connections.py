"""Too few connections: of the server for everybody, and in the pools of workers and applications."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter
from pathlib import Path

import msgspec
import psycopg
from psycopg_pool import AsyncConnectionPool

from durable import AsyncClient
from tests.faults.fleet import Member
from tests.faults.load import Family, Life
from tests.faults.stage import Stage, fault
from tests.faults.workload import Effects, Transfer, effects, transfer

_WORKERS = 3
_RUNS = 12
_RESULT_SECONDS = 60.0
_BACK_SECONDS = 30.0
_BESIDE_THE_POOL = 8
"""What a worker has beside the pool it is given: the engine's four, its lease, its listener, two that look around."""
_CONFIGURATIONS = list(itertools.product((1, 2, 3, 5), (1, 2, 7, 100), (1, 2, 3), (1, 2, 4)))
"""Sizes of the worker's pool, its concurrency, workers, and sizes of the application's pool."""

_END_CONNECTIONS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'worker-%'
"""
"""Of workers; tells how many there were."""
_TOO_MANY = "too many clients"


@fault(
    row=11,
    how="all connections of the server are taken, those of workers are ended, and these are taken too",
    target="no worker ends; all continue once there are connections again",
    sizes={"smoke": 2, "campaign": 40, "soak": 400},
    workers=_WORKERS,
    server_settings={"max_connections": "100", "superuser_reserved_connections": "0"},
)
async def exhausted(stage: Stage) -> None:
    for _ in range(stage.size):
        await asyncio.sleep(stage.random.uniform(0.2, 1.0))
        held: list[psycopg.AsyncConnection[object]] = []
        members = stage.fleet.alive
        refused = _refusals(stage)
        try:
            for member in members:
                member.send(signal.SIGSTOP)  # or it would be back before the crowd
            await stage.until(lambda: _have_ended(stage), _BACK_SECONDS, "the connections of workers have ended")
            await _take_all(stage, held)
            for member in members:
                stage.stalled(member.process_id, time.time())
                member.send(signal.SIGCONT)
            await asyncio.sleep(stage.random.uniform(0.5, 3.0))

            def are_refused(refused: Counter[int] = refused, members: list[Member] = members) -> bool:
                found = _refusals(stage)
                return all(found[member.process_id] > refused[member.process_id] for member in members)

            # The pauses between a worker's tries grow to longer than that.
            stage.injected(await stage.until(are_refused, _BACK_SECONDS, "every worker is refused a connection"))
        finally:
            for connection in held:
                await connection.close()
        released = time.time()

        async def are_back(released: float = released, members: list[Member] = members) -> bool:
            rows = await stage.observer.rows(
                "SELECT process_id FROM durable.workers WHERE heartbeat_at > to_timestamp(%s)", (released,)
            )
            return {member.process_id for member in members} <= {row[0] for row in rows}

        if await stage.until(are_back, _BACK_SECONDS, "every worker is back when there are connections again"):
            stage.recovered(time.time() - released)


async def _take_all(stage: Stage, held: list[psycopg.AsyncConnection[object]]) -> None:
    """Connects until the server refuses, for there are no more."""
    while True:
        try:
            held.append(await psycopg.AsyncConnection.connect(stage.options.direct, application_name="crowd"))
        except psycopg.OperationalError as error:
            if _TOO_MANY not in str(error):
                raise
            return


async def _have_ended(stage: Stage) -> bool:
    return await stage.observer.rows(_END_CONNECTIONS) == [(0,)]


def _refusals(stage: Stage) -> Counter[int]:
    """How often each worker has told of it, by its process id."""
    log = Path(stage.options.log)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return Counter(int(line.split()[2]) for line in lines if _TOO_MANY in line)


@fault(
    row=11,
    how="pools of 1 to 5 connections in workers and of 1 to 4 in the application, concurrency 1 to 100, 1 to 3 workers",
    target="no deadlock: every configuration finishes its runs",
    sizes={"smoke": 3, "campaign": 100, "soak": len(_CONFIGURATIONS)},
    workers=1,
    in_flight=10,
)
async def small_pools(stage: Stage) -> None:
    for pool_size, concurrency, workers, own_size in stage.random.sample(_CONFIGURATIONS, stage.size):
        stage.fleet.options = msgspec.structs.replace(stage.options, pool_size=pool_size, concurrency=concurrency)
        former = stage.fleet.alive
        stage.fleet.keep(len(former) + workers)
        for member in former:
            member.terminate()
        for member in former:
            await member.ended(stage.options.graceful_shutdown_timeout + 5.0)
        stage.fleet.collect()

        async def crowd(life: Life, own_size: int = own_size) -> None:
            await _crowd(stage, life, own_size)

        crowding = stage.load.start(Family("crowd", 0, crowd))
        most = 0
        while not crowding.done():
            rows = await stage.observer.rows(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name LIKE 'worker-%' GROUP BY application_name"
            )
            most = max([most, *(row[0] for row in rows)])
            await asyncio.sleep(0.05)
        what = f"pools of {pool_size}, concurrency {concurrency}, {workers} workers, {own_size} of the application"
        if most > pool_size + _BESIDE_THE_POOL:
            stage.violated("I11", f"a worker had {most} connections: {what}")
        stage.injected()


async def _crowd(stage: Stage, life: Life, size: int) -> None:
    """More runs at once than there are connections for, begun and awaited through a pool of that size."""
    pool = AsyncConnectionPool(
        stage.options.direct,
        kwargs={"autocommit": True},
        min_size=1,
        max_size=size,
        timeout=_RESULT_SECONDS,
        open=False,
    )

    async def one(client: AsyncClient) -> None:
        order: Effects | Transfer
        if life.random.random() < 0.5:
            order = Effects(life.number(), 3, 0.0)
            handle = await client.begin(effects, order)
            life.load.confirm(order.number, effects, handle.run_key)
        else:
            source, target = life.random.sample(range(32), 2)
            order = Transfer(life.number(), source, target, 1)
            moving = await client.begin(transfer, order)
            life.load.confirm(order.number, transfer, moving.run_key)
            await moving.result(timeout=_RESULT_SECONDS)
            return
        await handle.result(timeout=_RESULT_SECONDS)

    async with pool, AsyncClient(pool) as client:
        await asyncio.gather(*(one(client) for _ in range(_RUNS)))
