"""The promises of the design, one by one, on a real database."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from durable import (
    Context,
    RetryPolicy,
    RunFailed,
    RunRetryPolicy,
    StepFailed,
    Terminal,
    exponential,
    workflow,
)
from tests.worker.flows import running

AT_ONCE = RetryPolicy(max_retries=3, backoff=exponential(0.001, 0.001))
NEVER = RetryPolicy(max_retries=0)


# steps that fail


# transactions


# waits


# retries of the run


async def test_a_run_that_is_tried_anew_keeps_its_finished_steps_and_forgets_the_failed(database: str) -> None:
    calls: Counter[str] = Counter()

    async def steady() -> str:
        calls["steady"] += 1
        return "steady"

    async def flaky() -> str:
        calls["flaky"] += 1
        if calls["flaky"] < 3:
            raise ConnectionError("not yet")
        return "there"

    async def tidy() -> str:
        calls["tidy"] += 1
        return "tidy"

    @workflow(retry=RunRetryPolicy(max_attempts=5, backoff=exponential(0.01, 0.01)))
    async def stubborn(ctx: Context) -> list[Any]:
        steady_value = await ctx.execute("steady", steady)
        try:
            flaky_value = await ctx.execute("flaky", flaky, retry=NEVER)
        except StepFailed:
            await ctx.execute("tidy", tidy)
            raise
        return [steady_value, flaky_value, ctx.attempt]

    async with running(database, stubborn) as client:
        handle = await client.begin(stubborn)
        assert await handle.result(timeout=10) == ["steady", "there", 3]
        assert (await handle.status()).attempts == 2
    assert calls == {"steady": 1, "flaky": 3, "tidy": 1}


@pytest.mark.parametrize(("error", "attempts"), [(Terminal("no"), 1), (ValueError("again"), 3)])
async def test_a_run_fails_after_its_last_attempt_or_at_once(database: str, error: Exception, attempts: int) -> None:
    @workflow(retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def failing(ctx: Context) -> None:
        raise error

    async with running(database, failing) as client:
        handle = await client.begin(failing)
        with pytest.raises(RunFailed, match=str(error)):
            await handle.result(timeout=10)
        assert (await handle.status()).attempts == attempts


# changed code
