"""Failure modes C3: a memo is not found missing because it could not be had."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Context,
    Worker,
    workflow,
)
from durable.postgres.connection import EngineConnection
from durable.store.operation import Operation
from durable.worker.visit import Visited
from tests.watching import reached, rows, until


async def test_c3_a_run_whose_machine_is_put_away_while_it_is_claimed_is_replayed_and_not_begun_anew(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    let_go = asyncio.Event()

    async def charge(name: str) -> str:
        calls[name] += 1
        if name == "second":
            await let_go.wait()
        return name

    @workflow
    async def paying(ctx: Context, name: str) -> str:
        charged = await ctx.execute("charge", charge, name)
        await ctx.wait_for_event("go", "go", str)
        return charged

    async with AsyncClient(database) as client, Worker(database, [paying], max_resident=1) as worker:
        first = await client.begin(paying, "first")
        await reached(client, first.run_key, "waiting_event")
        second = await client.begin(paying, "second")
        await until(lambda: calls["second"])

        run = EngineConnection.run

        async def claim_while_the_second_parks(connection: EngineConnection, asked: Operation[Any]) -> Any:
            result = await run(connection, asked)
            if isinstance(result, Visited) and result.claimed:
                let_go.set()
                await until(lambda: worker.status().active_runs == 0)
            return result

        monkeypatch.setattr(EngineConnection, "run", claim_while_the_second_parks)
        await first.publish_event("go", "on")
        assert await first.result(timeout=10) == "first"
        await second.publish_event("go", "on")
        assert await second.result(timeout=10) == "second"
    assert calls == {"first": 1, "second": 1}


async def test_c3_a_memo_that_cannot_be_read_is_no_missing_memo(database: str) -> None:
    calls: Counter[str] = Counter()

    async def charge() -> str:
        calls["charge"] += 1
        return "charged"

    @workflow
    async def paying(ctx: Context) -> list[str]:
        charged = await ctx.execute("charge", charge)
        return [charged, await ctx.wait_for_event("go", "go", str)]

    async with AsyncClient(database) as client:
        handle = await client.begin(paying)
        async with Worker(database, [paying]):
            await reached(client, handle.run_key, "waiting_event")
        await handle.publish_event("go", "on")
        async with await psycopg.AsyncConnection.connect(database) as blocker:
            await blocker.execute("LOCK TABLE durable.steps IN ACCESS EXCLUSIVE MODE")
            async with Worker(database, [paying]):
                # As a time limit would: the statement that reads the memos ends with an error.
                await until(lambda: rows(database, CANCEL_READERS))
                await blocker.rollback()
                assert await handle.result(timeout=15) == ["charged", "on"]
        assert (await handle.info()).attempts == 0
    assert calls == {"charge": 1}


CANCEL_READERS = """
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%%durable.steps%%'
"""
