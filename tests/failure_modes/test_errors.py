"""Failure modes C11, C13: errors that look like an outage, cannot be pickled, or fill the table."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg
import pytest

from durable import AsyncClient, Call, Context, RetryPolicy, RunFailed, Worker, workflow
from tests.watching import rows


async def test_c11_an_error_of_the_users_code_that_looks_like_an_outage_is_his_error(database: str) -> None:
    calls: Counter[str] = Counter()

    async def misleading() -> None:
        calls["step"] += 1
        raise psycopg.errors.AdminShutdown("of another database")

    @workflow
    async def in_a_step(ctx: Context) -> None:
        await ctx.execute(Call("step", retry=RetryPolicy(max_retries=2, backoff=0)), misleading)

    @workflow
    async def in_the_workflow(ctx: Context) -> None:
        calls["workflow"] += 1
        raise psycopg.OperationalError("of another database")

    async with AsyncClient(database) as client, Worker(database, [in_a_step, in_the_workflow]):
        with pytest.raises(RunFailed, match="AdminShutdown"):
            await (await client.begin(in_a_step)).result(timeout=10)
        with pytest.raises(RunFailed, match="OperationalError"):
            await (await client.begin(in_the_workflow)).result(timeout=10)
    assert calls == {"step": 3, "workflow": 1}


class Unpicklable(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__("x" * 1_000_000)
        self.lock = (first, second, asyncio.Lock())


async def test_c13_an_error_is_stored_in_words_of_bounded_length_and_never_rebuilt(database: str) -> None:
    def deep(levels: int) -> None:
        if levels == 0:
            raise Unpicklable(1, 2)
        try:
            deep(levels - 1)
        except Unpicklable as error:
            raise Unpicklable(3, 4) from error

    async def failing() -> None:
        deep(30)

    @workflow
    async def verbose(ctx: Context) -> None:
        await ctx.execute(Call("failing", retry=RetryPolicy(max_retries=0)), failing)

    async with AsyncClient(database) as client, Worker(database, [verbose]):
        handle = await client.begin(verbose)
        with pytest.raises(RunFailed, match="Unpicklable"):
            await handle.result(timeout=10)
    for table in ("steps", "runs"):
        ((type_, message, traceback),) = await rows(
            database,
            "SELECT error->>'type', octet_length(error->>'message'), octet_length(error->>'traceback')"
            f" FROM durable.{table}",
        )
        assert type_ == ("Unpicklable" if table == "steps" else "StepFailed")
        assert message <= 9000
        assert traceback <= 9000
