"""Many clients begin runs with few keys at once, in transactions that stay open for a moment, while workers work."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, BeginOptions, Client, Context, EventTimeout, RunExists, RunKey, Worker, workflow
from tests.watching import rows, until
from tests.worker.processes import WorkerProcess, entries, prepare, three_steps
from tests.worker.processes import until as until_now

KEYS = ("a", "b", "c", "d")
CLIENTS = 6
BEGINS = 12
OPTIONS: tuple[BeginOptions, ...] = (
    {"if_ended": "begin_anew"},
    {"if_active": "refuse", "if_ended": "begin_anew"},
    {"if_active": "cancel", "if_ended": "begin_anew"},
    {"if_active": "terminate", "if_ended": "begin_anew"},
    {"if_ended": "begin_anew", "event": ("note", None)},
    {"if_active": "cancel", "if_ended": "begin_anew", "event": ("note", None)},
)

executing: Counter[str] = Counter()
overlaps: list[str] = []
read: list[str] = []


async def hold(key: str) -> None:
    executing[key] += 1
    if executing[key] > 1:
        overlaps.append(key)
    try:
        await asyncio.sleep(0.003)
    finally:
        executing[key] -= 1


async def note_down(text: str) -> None:
    read.append(text)


@workflow
async def busy(ctx: Context, key: str) -> None:
    """Reads one event if there is one."""
    try:
        await ctx.execute("hold", hold, key)
        text = await ctx.wait_for_event("read", "note", str, timeout=0)
        await ctx.execute("note", note_down, text)
    except EventTimeout:
        pass
    finally:
        await ctx.execute("clean up", hold, key)


async def begin_some(database: str, client: AsyncClient, seed: int) -> list[tuple[RunKey, str | None]]:
    """What was committed: the runs, and the events that came with their begins."""
    chance = random.Random(seed)
    committed: list[tuple[RunKey, str | None]] = []
    async with await psycopg.AsyncConnection.connect(database) as connection:
        for number in range(BEGINS):
            key, options = chance.choice(KEYS), chance.choice(OPTIONS).copy()
            options["key"] = key
            text = f"{seed}.{number}" if "event" in options else None
            if text is not None:
                options["event"] = ("note", text)
            try:
                await connection.execute("SELECT 1")
                if chance.random() < 0.3:
                    async with connection.transaction():
                        await client.begin_tx(connection, busy, key, **options)
                        raise psycopg.Rollback
                run_key = await client.begin_tx(connection, busy, key, **options)
            except RunExists:
                await connection.rollback()
                continue
            await asyncio.sleep(chance.random() * 0.01)
            if chance.random() < 0.2:
                await connection.rollback()
            else:
                await connection.commit()
                committed.append((run_key, text))
    return committed


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_two_runs_of_a_key_overlap_and_everything_committed_ends_and_is_read(database: str, seed: int) -> None:
    for kept in (executing, overlaps, read):
        kept.clear()
    async with AsyncClient(database) as client, Worker(database, [busy]), Worker(database, [busy]):
        begun = [begin_some(database, client, 100 * seed + number) for number in range(CLIENTS)]
        committed = [one for many in await asyncio.gather(*begun) for one in many]
        await until(lambda: is_done(database), 60)
    assert overlaps == []
    stored = await rows(database, "SELECT run_id::text FROM durable.runs")
    assert {run_key.run_id for run_key, _ in committed} <= {run_id for (run_id,) in stored}
    assert {text for _, text in committed if text is not None} <= set(await taken(database))


async def is_done(database: str) -> bool:
    query = """
        SELECT (SELECT count(*) FROM durable.runs WHERE completed_at IS NULL)
             + (SELECT count(*) FROM durable.events WHERE kind = 'next' AND consumed_by IS NULL)"""
    return await rows(database, query) == [(0,)]


async def taken(database: str) -> list[str]:
    found = await rows(database, "SELECT payload #>> '{}' FROM durable.events WHERE consumed_by = 'read'")
    return [text for (text,) in found]


def test_the_next_run_starts_although_the_worker_was_killed_with_the_one_before_it(database: str) -> None:
    prepare(database)
    with Client(database) as client, WorkerProcess(database, hangs=True) as victim:
        first = client.begin(three_steps, "second", key="k")
        until_now(lambda: "second" in entries(database))
        next_one = client.begin(three_steps, "none", key="k", if_active="terminate")
        victim.signal(signal.SIGKILL)
        with WorkerProcess(database):
            assert next_one.result(timeout=30) == ["first", "second", "third"]
        assert first.info().status == "cancelled"


def test_an_event_is_read_although_the_worker_was_killed_before(database: str) -> None:
    def unread() -> list[Any]:
        with psycopg.connect(database) as connection:
            query = "SELECT 1 FROM durable.events WHERE kind = 'next' AND consumed_by IS NULL"
            return connection.execute(query).fetchall()

    prepare(database)
    with Client(database) as client, WorkerProcess(database, hangs=True) as victim:
        client.begin(three_steps, "second", key="k")
        until_now(lambda: "second" in entries(database))
        client.begin(three_steps, "none", key="k", if_ended="begin_anew", event=("note", 1))
        victim.signal(signal.SIGKILL)
        with WorkerProcess(database):
            until_now(lambda: entries(database).count("third") == 2)
            until_now(lambda: not unread())
