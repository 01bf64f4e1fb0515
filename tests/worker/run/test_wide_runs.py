"""Runs with very many calls at once: they pause, and what else the worker does has its turn."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from durable import AsyncClient, Context, RunCancelled, Worker, workflow
from tests.watching import until
from tests.worker.run.notes import until_status

WIDTH = 1_500


class Turns:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.number = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self.number += 1
        self._handle = self._loop.call_soon(self._turn)

    def stop(self) -> None:
        self._handle.cancel()


async def test_steps_that_are_ready_at_once_are_started_in_several_turns(database: str) -> None:
    started: list[int] = []
    turns = Turns()

    async def note(number: int) -> int:
        started.append(turns.number)
        return number

    @workflow
    async def wide(ctx: Context) -> int:
        return sum(await asyncio.gather(*(ctx.execute(f"step {n}", note, n) for n in range(WIDTH))))

    async with AsyncClient(database) as client, Worker(database, [wide]):
        assert await (await client.begin(wide)).result(timeout=60) == sum(range(WIDTH))
    turns.stop()
    assert len(started) == WIDTH
    assert max(started.count(turn) for turn in set(started)) <= 100


async def test_a_run_that_waits_for_very_many_events_gets_all_of_them_and_can_be_cancelled(database: str) -> None:
    @workflow
    async def wide(ctx: Context, width: int) -> int:
        return sum(await asyncio.gather(*(ctx.wait_for_event(f"wait {n}", f"event {n}", int) for n in range(width))))

    async with AsyncClient(database) as client:
        async with Worker(database, [wide]):
            heard = await client.begin(wide, WIDTH)
            dropped = await client.begin(wide, WIDTH)
            for one in (heard, dropped):
                await until_status(one, "waiting_event")
        async with await psycopg.AsyncConnection.connect(database) as tx:
            for number in reversed(range(WIDTH)):
                await client.publish_event_tx(tx, heard.run_key, f"event {number}", number)
        await dropped.cancel()
        async with Worker(database, [wide]):  # which replays both
            assert await heard.result(timeout=60) == sum(range(WIDTH))
            with pytest.raises(RunCancelled):
                await dropped.result(timeout=60)


async def test_very_many_sleeps_are_over_at_once_after_a_replay(database: str) -> None:
    @workflow
    async def wide(ctx: Context) -> int:
        await asyncio.gather(*(ctx.sleep(f"sleep {n}", 0.5) for n in range(WIDTH)))
        return WIDTH

    async with AsyncClient(database) as client:
        async with Worker(database, [wide]):
            run = await client.begin(wide)
            await until_status(run, "sleeping")
        async with Worker(database, [wide]):
            assert await run.result(timeout=60) == WIDTH


async def test_a_parent_hears_of_very_many_children(database: str) -> None:
    @workflow(concurrency=50)
    async def child(ctx: Context, number: int) -> int:
        return number

    @workflow
    async def parent(ctx: Context, width: int) -> int:
        return sum(await asyncio.gather(*(ctx.run_child(f"child {n}", child, n) for n in range(width))))

    async with AsyncClient(database) as client, Worker(database, [parent, child]):
        run = await client.begin(parent, 400)
        assert await run.result(timeout=60) == sum(range(400))


async def test_very_many_sleeps_last_no_longer_because_the_run_moved_to_another_worker(database: str) -> None:
    async def hang() -> None:
        await asyncio.sleep(3600)

    @workflow
    async def wide(ctx: Context) -> int:
        hanging = asyncio.ensure_future(ctx.execute("hang", hang))  # with it, local timers end the sleeps
        await asyncio.gather(*(ctx.sleep(f"sleep {n}", 3600) for n in range(WIDTH)))
        hanging.cancel()
        return WIDTH

    async with AsyncClient(database) as client, await psycopg.AsyncConnection.connect(database) as connection:

        async def are_open() -> bool:
            cursor = await connection.execute("SELECT count(*) FROM durable.waits")
            await connection.commit()
            return await cursor.fetchone() == (WIDTH,)

        async with Worker(database, [wide], graceful_shutdown_timeout=0.1):
            run = await client.begin(wide)
            await until(are_open)
        await connection.execute("UPDATE durable.waits SET wake_at = now() + interval '1 s'")
        await connection.commit()
        async with Worker(database, [wide], graceful_shutdown_timeout=0.1):
            assert await run.result(timeout=30) == WIDTH
