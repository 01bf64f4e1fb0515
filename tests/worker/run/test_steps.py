"""The ancestor's scenarios 1, 2, 7 to 10, 15, 20, 25 and 32: steps, their memos, what can be seen of a run."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Context, RetryPolicy, RunNotCompleted, StepFailed, Worker, workflow
from tests.watching import rows, status_of
from tests.worker.flows import arithmetic, flaky, greeting, process_until_there_is_one


async def test_01_a_run_is_begun_in_a_transaction_and_processed(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(calls)
    async with AsyncClient(database) as client, await psycopg.AsyncConnection.connect(database) as tx:
        run_key = await client.begin_tx(tx, simple, "World")
        await tx.commit()
        assert await status_of(client, run_key) == "queued"

        assert await Worker(database, [simple]).process_one()

        assert await status_of(client, run_key) == "completed"
    assert calls == {"greet": 1}


async def test_02_each_step_is_called_once(database: str) -> None:
    calls: Counter[str] = Counter()
    multi = arithmetic(calls)
    async with AsyncClient(database) as client:
        handle = await client.begin(multi, 5)
        assert await Worker(database, [multi]).process_one()

        assert await handle.result(timeout=0) == 25
    assert calls == {"add10": 1, "multiply2": 1, "subtract5": 1}


async def test_02_each_step_is_called_once_also_when_the_run_is_executed_three_times(database: str) -> None:
    calls: Counter[str] = Counter()

    async def count(name: str) -> int:
        calls[name] += 1
        return calls[name]

    @workflow
    async def replayed(ctx: Context) -> list[int]:
        calls["executions"] += 1
        values: list[int] = []
        for index in range(3):
            values.append(await ctx.execute(f"step {index}", count, f"step {index}"))
            await ctx.sleep(f"nap {index}", 0)
        return values

    async with AsyncClient(database) as client:
        handle = await client.begin(replayed)
        worker = Worker(database, [replayed])
        for _ in range(4):
            await process_until_there_is_one(worker)
        assert await handle.result(timeout=0) == [1, 1, 1]
    assert calls == {"executions": 4, "step 0": 1, "step 1": 1, "step 2": 1}


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

        status = await handle.status()
        assert status.error is not None
        assert (status.status, status.error.type) == ("failed", "StepFailed")
        assert status.error.message == "step 'flaky_step' failed: ConnectionError: persistent error"
    assert calls == {"flaky_step": 6}
    assert await rows(database, "SELECT error ->> 'message', attempts FROM durable.steps") == [("persistent error", 6)]


async def remember(tx: psycopg.AsyncConnection[Any], key: str, value: str) -> None:
    await tx.execute("CREATE TABLE IF NOT EXISTS kept (key text PRIMARY KEY, value text)")
    await tx.execute(
        "INSERT INTO kept VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
    )


async def test_09_a_transaction_step_commits_at_once_and_not_only_with_the_attempt(database: str) -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.extend(await rows(database, "SELECT value, step_key FROM kept, durable.steps"))

    @workflow
    async def keeping(ctx: Context) -> None:
        await ctx.transaction("remember", remember, "test_key", "test_value")
        await ctx.execute("look", look)

    async with AsyncClient(database) as client:
        handle = await client.begin(keeping)
        assert await Worker(database, [keeping]).process_one()
        assert (await handle.status()).status == "completed"
    assert seen == [("test_value", "remember")]


async def test_09_a_transaction_step_that_raises_leaves_no_row_and_harms_no_other(database: str) -> None:
    async def refuse(tx: psycopg.AsyncConnection[Any]) -> None:
        await remember(tx, "test_key", "never")
        raise ValueError("refused")

    @workflow
    async def keeping(ctx: Context) -> str:
        await ctx.transaction("remember", remember, "other_key", "kept")
        try:
            await ctx.transaction("refuse", refuse, retry=RetryPolicy(max_retries=1, backoff=0))
        except StepFailed as error:
            return error.message
        return ""

    async with AsyncClient(database) as client:
        handle = await client.begin(keeping)
        assert await Worker(database, [keeping]).process_one()
        assert await handle.result(timeout=0) == "refused"
    assert await rows(database, "SELECT * FROM kept") == [("other_key", "kept")]


async def test_10_what_was_drawn_is_stored_and_the_same_on_replay(database: str) -> None:
    drawn: list[tuple[uuid.UUID, int]] = []

    @workflow
    async def drawing(ctx: Context) -> None:
        drawn.append((await ctx.random_uuid7("my_uuid"), await ctx.random_uint64("my_number")))
        await ctx.sleep("nap", 0)

    async with AsyncClient(database) as client:
        await client.begin(drawing)
        worker = Worker(database, [drawing])
        assert await worker.process_one()
        await process_until_there_is_one(worker)

    first, second = drawn
    assert first == second
    assert first[0].version == 7
    stored = await rows(database, "SELECT step_key, output #>> '{}' FROM durable.steps ORDER BY seq")
    assert stored == [("my_uuid", str(first[0])), ("my_number", str(first[1]))]
    assert len(stored[0][1]) == 36


async def test_15_input_and_output_of_each_step_are_stored(database: str) -> None:
    multi = arithmetic(Counter())
    async with AsyncClient(database) as client:
        await client.begin(multi, 5)
        assert await Worker(database, [multi]).process_one()
    assert await rows(database, "SELECT step_key, input, output FROM durable.step_payloads ORDER BY step_key") == [
        ("step1_add10", [5], 15),
        ("step2_multiply2", [15], 30),
        ("step3_subtract5", [30], 25),
    ]


async def test_20_a_pipeline_of_many_steps_is_one_execution(database: str) -> None:
    calls: Counter[str] = Counter()

    async def load(source: str) -> int:
        calls[source] += 1
        return len(source)

    @workflow
    async def pipeline(ctx: Context, sources: list[str]) -> int:
        return sum([await ctx.execute(f"load {source}", load, source) for source in sources])

    sources = ["a", "bb", "ccc", "dddd", "eeeee"]
    async with AsyncClient(database) as client:
        handle = await client.begin(pipeline, sources)
        assert await Worker(database, [pipeline]).process_one()
        assert await handle.result(timeout=0) == 15
    assert calls == dict.fromkeys(sources, 1)
    assert await rows(database, "SELECT count(*) FROM durable.steps") == [(5,)]


async def test_25_the_status_says_where_a_run_stands(database: str) -> None:
    simple = greeting(Counter())
    async with AsyncClient(database) as client:
        handle = await client.begin(simple, "World")
        status = await handle.status()
        assert status.status == "queued"
        assert abs(status.created_at - datetime.now(UTC)) < timedelta(minutes=1)

        assert await Worker(database, [simple]).process_one()
        assert (await handle.status()).status == "completed"


async def test_32_a_run_has_an_output_once_it_is_completed(database: str) -> None:
    simple = greeting(Counter())
    async with AsyncClient(database) as client:
        handle = await client.begin(simple, "OutputTest")
        with pytest.raises(RunNotCompleted, match="'queued'"):
            await client.get_run_output(handle.run_key, str)

        assert await Worker(database, [simple]).process_one()
        assert await client.get_run_output(handle.run_key, str) == "Hello, OutputTest!"
