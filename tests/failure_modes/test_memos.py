"""Failure modes C3: a memo is not found missing because it could not be had."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from durable import AsyncClient, Context, Worker, workflow
from durable.postgres.pipeline import commit
from durable.worker import dispatcher as dispatcher_module
from tests.watching import reached, until


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

        async def commit_while_the_second_parks(connection: Any, statements: Any, **options: Any) -> Any:
            answers = await commit(connection, statements, **options)
            if any(isinstance(answer, list) and answer for answer in answers):  # of runs that were claimed
                let_go.set()
                await until(lambda: worker.status().active_runs == 0)
            return answers

        monkeypatch.setattr(dispatcher_module, "commit", commit_while_the_second_parks)
        await first.publish("go", "on")
        assert await first.result(timeout=10) == "first"
        await second.publish("go", "on")
        assert await second.result(timeout=10) == "second"
    assert calls == {"first": 1, "second": 1}
