"""The application: begins runs, talks to them, and remembers what it was told was committed."""

from __future__ import annotations

import asyncio
import itertools
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from durable import AsyncClient, RunKey, Workflow

T = TypeVar("T")

_LOOK_SECONDS = 0.1
_OUTAGE = (psycopg.OperationalError, psycopg.InterfaceError, OSError)


class Acknowledged(msgspec.Struct, frozen=True):
    """A run whose begin was confirmed."""

    workflow: str
    run_key: RunKey


class Load:
    """Keeps up to ``in_flight`` runs going, of families drawn by their weights, until it is told to finish.

    What the application knows: ``acknowledged`` by number, ``doubtful`` (the confirmation was lost and cannot be had
    again) and ``rolled_back``; ``problems`` is what a client raised that no outage explains.
    """

    def __init__(self, conninfo: str, random: Random, families: Sequence[Family], *, in_flight: int = 40) -> None:
        self._random = random
        self._families = list(families)
        self._places = asyncio.Semaphore(in_flight)
        self._numbers = itertools.count(1)
        self._way, self._options = conninfo, dict[str, Any]()
        self._pool = AsyncConnectionPool(
            lambda: make_conninfo(self._way, application_name="load"),
            kwargs=lambda: {"autocommit": True, **self._options},
            min_size=2,
            max_size=10,
            timeout=2.0,
            reconnect_timeout=2.0,
            open=False,
        )
        self.client = AsyncClient(self._pool)
        self.acknowledged: dict[int, Acknowledged] = {}
        self.doubtful: set[int] = set()
        self.rolled_back: set[int] = set()
        self.problems: list[str] = []
        self.retried = 0
        self.ends = 0
        self._awaited: dict[str, tuple[RunKey, asyncio.Future[str]]] = {}
        self._lives: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Begins runs within the block; ends all that is left at its end."""
        await self._pool.open(wait=True)
        self._tasks = [asyncio.create_task(self._look_for_ends()), asyncio.create_task(self._begin_lives())]
        try:
            yield
        finally:
            for task in (*self._tasks, *self._lives):
                task.cancel()
            await asyncio.gather(*self._tasks, *self._lives, return_exceptions=True)
            await self._pool.close()

    async def lead(self, conninfo: str, **options: Any) -> None:
        """From now on the application takes that way to the database."""
        self._way, self._options = conninfo, options
        await self._pool.drain()

    async def finish(self, seconds: float) -> list[RunKey]:
        """Begins nothing more, and lets what was begun come to its end; returns the keys of those that do not within
        that time."""
        self._tasks[1].cancel()
        if self._lives:
            await asyncio.wait(self._lives, timeout=seconds)
        return [key for key, _ in self._awaited.values()]

    def start(self, family: Family) -> asyncio.Task[None]:
        """A life of that family, beside those that are drawn."""
        task = asyncio.create_task(self._live(family, Life(self, self._numbers, Random(self._random.getrandbits(64)))))
        self._lives.add(task)
        task.add_done_callback(self._lives.discard)
        return task

    # for the lives

    async def surely(self, call: Callable[[], Awaitable[T]]) -> T:
        """Calls until no outage comes between."""
        while True:
            try:
                return await call()
            except _OUTAGE:
                self.retried += 1
                await asyncio.sleep(self._random.uniform(0.02, 0.2))

    async def ended(self, run_key: RunKey) -> str:
        """The terminal status of a run, once it has one."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._awaited[run_key.run_id] = (run_key, future)
        return await future

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[psycopg.AsyncConnection[tuple[Any, ...]]]:
        """One of the application's own connections, in autocommit."""
        async with self._pool.connection() as connection:
            yield connection

    def confirm(self, number: int, wf: Workflow[Any, Any], run_key: RunKey) -> None:
        """The begin of that number was confirmed."""
        self.acknowledged[number] = Acknowledged(wf.name, run_key)

    # the loops

    async def _begin_lives(self) -> None:
        weights = [family.weight for family in self._families]
        while True:
            await self._places.acquire()
            (family,) = self._random.choices(self._families, weights)
            self.start(family).add_done_callback(lambda _: self._places.release())

    async def _live(self, family: Family, life: Life) -> None:
        try:
            await family.live(life)
        except Exception:
            self.problems.append(f"{family.name}: {traceback.format_exc(limit=-4)}")

    async def _look_for_ends(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            keys = [key for key, _ in self._awaited.values()]
            if not keys:
                continue
            try:
                async with self.connection() as connection:
                    found = await connection.execute(
                        "SELECT run.run_id::text, run.status FROM durable.runs AS run"
                        " JOIN unnest(%s::text[], %s::uuid[]) AS asked (shard, run_id)"
                        " ON run.workflow_name_shard = asked.shard AND run.run_id = asked.run_id"
                        " WHERE run.completed_at IS NOT NULL",
                        ([key.workflow_name_shard for key in keys], [UUID(key.run_id) for key in keys]),
                    )
                    for run_id, status in await found.fetchall():
                        self._awaited.pop(run_id)[1].set_result(status)
                        self.ends += 1
            except _OUTAGE:
                self.retried += 1


class Life:
    """The application's side of one run, or of a few."""

    def __init__(self, load: Load, numbers: itertools.count[int], random: Random) -> None:
        self.load = load
        self.client = load.client
        self.random = random
        self._numbers = numbers

    def number(self) -> int:
        """One that no other run has."""
        return next(self._numbers)

    async def begin(self, wf: Workflow[Any, Any], input: Any, *, is_plain: bool = False) -> RunKey | None:
        """Begins a run in one of several ways; ``None``: the transaction was rolled back. ``input`` has its number.

        With ``is_plain``, always for real.
        """
        way = self.random.choices(
            [self._by_key, self._twice_by_key, self._in_transaction, self._rolled_back],
            [4, 1, 3, 0 if is_plain else 1],
        )[0]
        return await way(wf, input)

    async def begin_many(self, wf: Workflow[Any, Any], inputs: Sequence[Any]) -> list[RunKey]:
        """Begins them together; none are returned if it is in doubt whether they were begun."""
        try:
            run_keys = await self.client.begin_many(wf, inputs)
        except _OUTAGE:
            self.load.doubtful.update(each.number for each in inputs)
            return []
        for each, run_key in zip(inputs, run_keys, strict=True):
            self.load.confirm(each.number, wf, run_key)
        return run_keys

    async def publish_event(self, run_key: RunKey, name: str, payload: object) -> None:
        """Publishes an event, so that it is there once."""
        key = f"{self.random.getrandbits(64):016x}"
        for _ in range(self.random.choice((1, 1, 2))):
            await self.load.surely(lambda: self.client.publish_event(run_key, name, payload, key=key))

    async def pause(self, seconds: float) -> None:
        """Up to that many seconds."""
        await asyncio.sleep(self.random.uniform(0, seconds))

    async def _by_key(self, wf: Workflow[Any, Any], input: Any) -> RunKey:
        delay = self.random.choice((None, None, None, 0.2))
        key = f"key {input.number}"
        handle = await self.load.surely(lambda: self.client.begin(wf, input, key=key, delay=delay))
        self.load.confirm(input.number, wf, handle.run_key)
        return handle.run_key

    async def _twice_by_key(self, wf: Workflow[Any, Any], input: Any) -> RunKey:
        run_key = await self._by_key(wf, input)
        again = await self.load.surely(lambda: self.client.begin(wf, input, key=f"key {input.number}"))
        if again.is_new or again.run_key != run_key:
            self.load.problems.append(f"begun twice with one key: {run_key} and {again.run_key}")
        return run_key

    async def _in_transaction(self, wf: Workflow[Any, Any], input: Any) -> RunKey:
        tried: list[RunKey] = []

        async def attempt() -> RunKey:
            try:
                async with self.load.connection() as connection, connection.transaction():
                    await connection.execute("INSERT INTO orders (number) VALUES (%s)", (input.number,))
                    tried.append(await self.client.begin_tx(connection, wf, input))
            except psycopg.errors.UniqueViolation:
                return await self._which(tried)  # an earlier attempt had been committed
            return tried[-1]

        run_key = await self.load.surely(attempt)
        self.load.confirm(input.number, wf, run_key)
        return run_key

    async def _which(self, tried: Sequence[RunKey]) -> RunKey:
        async with self.load.connection() as connection:
            found = await connection.execute(
                "SELECT run_id::text FROM durable.runs WHERE run_id = ANY(%s::uuid[])", ([k.run_id for k in tried],)
            )
            there = {row[0] for row in await found.fetchall()}
        (run_key,) = [key for key in tried if key.run_id in there]
        return run_key

    async def _rolled_back(self, wf: Workflow[Any, Any], input: Any) -> None:
        self.load.rolled_back.add(input.number)
        try:
            async with self.load.connection() as connection, connection.transaction():
                await self.client.begin_tx(connection, wf, input)
                raise psycopg.Rollback
        except (psycopg.Rollback, *_OUTAGE):  # the first, where the connection was lost just then
            self.load.retried += 1


class Family(msgspec.Struct, frozen=True):
    """A kind of run: how often it is begun, and what its application does."""

    name: str
    weight: float
    live: Callable[[Life], Awaitable[None]]
