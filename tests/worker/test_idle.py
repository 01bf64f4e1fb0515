"""How often an idle worker asks, as Postgres sees it.

A look is a transaction, the only one that an idle worker begins; `pg_stat_activity` tells when it was last committed.
Waits can be longer than they should, on a busy machine, but never shorter: so what is asserted is the least that lies
between looks.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import time
from collections import Counter
from typing import Any, Self

import psycopg
from psycopg.conninfo import make_conninfo

from durable import AsyncClient, Context, Worker, workflow
from tests.watching import until
from tests.worker.flows import greeting

LOOK = "COMMIT"


class Looks:
    """When each worker, known by its application name, looked for work: seconds by the server's clock."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._moments: dict[str, list[float]] = {}
        self._seen: set[tuple[int, float]] = set()

    async def __aenter__(self) -> Self:
        self._connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.close()

    def of(self, worker: str) -> list[float]:
        return self._moments.setdefault(worker, [])

    def gaps(self, worker: str) -> list[float]:
        moments = self.of(worker)
        return [after - before for before, after in itertools.pairwise(moments)]

    async def _watch(self) -> None:
        while True:
            cursor = await self._connection.execute(
                "SELECT application_name, pid, extract(epoch FROM query_start)::float8 FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle' AND query LIKE %s",
                (LOOK,),
            )
            for worker, pid, moment in await cursor.fetchall():
                if (pid, moment) not in self._seen:
                    self._seen.add((pid, moment))
                    self.of(worker).append(moment)
            await asyncio.sleep(0.002)


def idle_worker(dsn: str, name: str, *, concurrency: int = 1, **options: Any) -> Worker:
    @workflow(name=name, concurrency=concurrency)
    async def nothing(ctx: Context) -> None:
        return None

    return Worker(make_conninfo(dsn, application_name=name), [nothing], **options)


def grows(gaps: list[float], least: tuple[float, ...]) -> bool:
    return len(gaps) >= len(least) and all(gap >= 0.9 * wait for gap, wait in zip(gaps, least, strict=False))


async def test_80_an_idle_worker_doubles_its_wait_up_to_the_maximum_and_starts_anew_when_told(database: str) -> None:
    simple = greeting(Counter())
    base, most = 0.05, 0.4
    worker = Worker(
        make_conninfo(database, application_name="idle"), [simple], poll_interval=base, max_poll_interval=most
    )
    async with AsyncClient(database) as client, Looks(database) as looks, worker:
        await until(lambda: len(looks.of("idle")) >= 8)
        gaps = looks.gaps("idle")
        assert any(grows(gaps[first:], (base, 2 * base, 4 * base, most, most)) for first in range(3)), gaps
        assert gaps[-1] < most * 4

        seen = len(looks.of("idle"))
        assert await (await client.begin(simple, "World")).result(timeout=10) == "Hello, World!"
        await until(lambda: len(looks.of("idle")) >= seen + 5)
        assert min(looks.gaps("idle")[seen + 1 :]) < most * 0.9


def test_81_by_default_a_worker_looks_four_times_a_second_at_first_and_twice_a_minute_in_the_end() -> None:
    defaults = {name: parameter.default for name, parameter in inspect.signature(Worker).parameters.items()}
    assert (defaults["poll_interval"], defaults["max_poll_interval"]) == (0.25, 30.0)


async def test_81_without_notifications_the_wait_does_not_grow(database: str) -> None:
    async with (
        Looks(database) as looks,
        idle_worker(database, "deaf", poll_interval=0.05, notify=False),
        idle_worker(database, "listening", poll_interval=0.05),
    ):
        await until(lambda: len(looks.of("deaf")) >= 24)
        assert len(looks.of("listening")) < 12


async def test_81_the_wait_is_never_shorter_than_the_poll_interval(database: str) -> None:
    async with (
        Looks(database) as looks,
        idle_worker(database, "patient", poll_interval=0.2, max_poll_interval=0.01, notify=False),
    ):
        began = time.monotonic()
        await until(lambda: len(looks.of("patient")) >= 4)
        assert time.monotonic() - began > 0.5
        assert all(gap > 0.18 for gap in looks.gaps("patient")), looks.gaps("patient")


async def test_82_a_worker_with_more_places_asks_no_more_often(database: str) -> None:
    async with (
        Looks(database) as looks,
        idle_worker(database, "one", poll_interval=0.02, notify=False),
        idle_worker(database, "eight", poll_interval=0.02, notify=False, concurrency=8),
    ):
        await until(lambda: len(looks.of("one")) >= 20)
        assert 0 < len(looks.of("eight")) <= 2 * len(looks.of("one"))
