"""Steps that are tried again, and steps that are not."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from durable import (
    AsyncClient,
    Call,
    Context,
    RetryPolicy,
    RunFailed,
    StepFailed,
    Terminal,
    Worker,
    exponential,
    workflow,
)
from tests.watching import reached, rows, until
from tests.worker.flows import flaky, greeting, running

WORKER = "the worker"
CONNECTIONS = "SELECT state FROM pg_stat_activity WHERE application_name = %s"


async def test_a_step_waits_longer_between_its_tries_and_not_after_the_last(database: str) -> None:
    tries: list[float] = []

    async def broken() -> None:
        tries.append(time.monotonic())
        raise ConnectionError("never")

    @workflow
    async def stubborn(ctx: Context) -> None:
        # 0.06, 0.3 and then 1.5 s, give or take a quarter; a wait of 7.5 s after the last try would be seen.
        await ctx.execute(Call("broken", retry=RetryPolicy(max_retries=3, backoff=exponential(0.06, 3600, 5))), broken)

    async with AsyncClient(database) as client, Worker(database, [stubborn]):
        handle = await client.begin(stubborn)
        with pytest.raises(RunFailed):
            await handle.result(timeout=20)
        ended = time.monotonic()
    gaps = [after - before for before, after in pairwise(tries)]
    assert [gap >= 0.74 * delay for gap, delay in zip(gaps, (0.06, 0.3, 1.5), strict=True)] == [True] * 3, gaps
    assert ended - tries[-1] < 3.7


async def test_steps_between_their_tries_hold_neither_a_connection_nor_a_transaction(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(Counter())

    async def broken() -> None:
        calls["execute"] += 1
        raise ConnectionError("not yet")

    async def broken_in_a_transaction(tx: psycopg.AsyncConnection[Any]) -> None:
        await tx.execute("SELECT 1")
        calls["transaction"] += 1
        raise ConnectionError("not yet")

    @workflow
    async def patient(ctx: Context, kind: str) -> None:
        policy = RetryPolicy(max_retries=5, backoff=3600)
        if kind == "execute":
            await ctx.execute(Call("broken", retry=policy), broken)
        else:
            await ctx.transaction(Call("broken", retry=policy), broken_in_a_transaction)

    worker = Worker(make_conninfo(database, application_name=WORKER), [patient, simple], graceful_shutdown_timeout=0)
    async with AsyncClient(database) as client, worker:
        await client.begin_many(patient, ["execute", "transaction"] * 40)
        await until(lambda: calls == {"execute": 40, "transaction": 40})
        assert await (await client.begin(simple, "World")).result(timeout=10) == "Hello, World!"
        await until(lambda: worker.status().active_runs == 0)  # they hold no place of the worker either

        async def is_at_rest() -> bool:
            states = [state for (state,) in await rows(database, CONNECTIONS, WORKER)]
            return 0 < len(states) < 40 and not any("transaction" in str(state) for state in states)

        await until(is_at_rest)
    assert await rows(database, "SELECT DISTINCT status FROM durable.runs WHERE workflow_name = 'patient'") == [
        ("sleeping",)
    ]


async def test_07_a_step_is_retried_until_it_succeeds(database: str) -> None:
    calls: Counter[str] = Counter()
    retry = flaky(calls)
    async with AsyncClient(database) as client:
        handle = await client.begin(retry, 3)
        assert await Worker(database, [retry]).process_one()

        assert await handle.result(timeout=0) == 4
    assert await rows(database, "SELECT status, attempts FROM durable.steps") == [("completed", 4)]


async def test_08_a_step_that_always_fails_fails_the_run_which_names_it(database: str) -> None:
    calls: Counter[str] = Counter()
    retry = flaky(calls)
    async with AsyncClient(database) as client:
        handle = await client.begin(retry, 100)
        assert await Worker(database, [retry]).process_one()

        status = await handle.info()
        assert status.error is not None
        assert (status.status, status.error.type) == ("failed", "StepFailed")
        assert status.error.message == "step 'flaky_step' failed: ConnectionError: persistent error"
    assert calls == {"flaky_step": 6}
    assert await rows(database, "SELECT error ->> 'message', attempts FROM durable.steps") == [("persistent error", 6)]


AT_ONCE = RetryPolicy(max_retries=3, backoff=exponential(0.001, 0.001))


async def test_a_failing_step_is_retried_and_then_the_same_failure_for_ever(database: str) -> None:
    calls: Counter[str] = Counter()
    caught: list[StepFailed] = []

    async def broken() -> None:
        calls["broken"] += 1
        raise LookupError("nothing here")

    @workflow
    async def catching(ctx: Context) -> str:
        try:
            await ctx.execute(Call("broken", retry=AT_ONCE), broken)
        except StepFailed as error:
            caught.append(error)
        return await ctx.wait_for_event("go", "go", str)

    async with running(database, catching) as client:
        handle = await client.begin(catching)
        await reached(client, handle.run_key, "waiting_event")
    async with running(database, catching) as client:
        handle = client.handle(handle.run_key, catching)
        await client.publish_event(handle.run_key, "go", "on")
        assert await handle.result(timeout=10) == "on"

    first, second = caught
    assert calls["broken"] == 4
    assert first.__cause__ is second.__cause__ is None  # else the code could branch on what no replay has
    assert str(first) == str(second)
    assert first.__notes__ == second.__notes__
    assert (second.step_key, second.error_type, second.message) == ("broken", "LookupError", "nothing here")
    assert "nothing here" in (second.traceback or "")


@pytest.mark.parametrize("error", [Terminal("no"), KeyError("listed")])
async def test_some_errors_are_not_worth_a_retry(database: str, error: Exception) -> None:
    calls: Counter[str] = Counter()

    async def broken() -> None:
        calls["broken"] += 1
        raise error

    @workflow
    async def failing(ctx: Context) -> None:
        await ctx.execute(Call("broken", retry=RetryPolicy(max_retries=5, give_up_on=(KeyError,))), broken)

    async with running(database, failing) as client:
        with pytest.raises(RunFailed):
            await (await client.begin(failing)).result(timeout=10)
    assert calls["broken"] == 1


async def test_each_failing_try_is_logged_without_what_the_step_was_given(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(secret: str) -> None:
        raise ValueError(secret)

    @workflow
    async def stubborn(ctx: Context) -> None:
        await ctx.execute(Call("broken", retry=RetryPolicy(max_retries=2, backoff=0.02)), broken, "a secret")

    async with running(database, stubborn) as client:
        handle = await client.begin(stubborn)
        with pytest.raises(RunFailed):
            await handle.result(timeout=20)
    said = [record for record in caplog.records if hasattr(record, "step_key")]
    assert [record.levelname for record in said] == ["WARNING"] * 3
    lines = [record.getMessage() for record in said]
    prefix = f"step 'broken' of run {handle.run_key} failed in try"
    for number, line in enumerate(lines, 1):
        assert line.startswith(f"{prefix} {number} of 3 with ValueError; it is ")
    assert ["tried again in 0.0" in line for line in lines] == [True, True, False]
    assert "it is not tried again\n" in lines[-1]
    assert lines[-1].endswith("raise ValueError(secret)")
    assert not any("a secret" in f"{line} {vars(record)}" for line, record in zip(lines, said, strict=True))
    assert {vars(record)["run_key"] for record in said} == {str(handle.run_key)}
