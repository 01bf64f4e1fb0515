"""Steps that write in a transaction: committed with their memo, once, or not at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import psycopg
import pytest

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
from durable.worker.run import step_calls as steps_module
from tests.watching import reached, rows
from tests.worker.flows import greeting, process_all, running

ONCE = RetryPolicy(max_retries=0)
AT_ONCE = RetryPolicy(max_retries=3, backoff=exponential(0.001, 0.001))
KEPT = "kept (key text PRIMARY KEY, value text)"


async def remember(tx: psycopg.AsyncConnection[Any], key: str, value: str) -> None:
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

    await rows_of_new_table(database, KEPT)
    async with AsyncClient(database) as client:
        handle = await client.begin(keeping)
        assert await Worker(database, [keeping]).process_one()
        assert (await handle.info()).status == "completed"
    assert seen == [("test_value", "remember")]


async def test_09_a_transaction_step_that_raises_leaves_no_row_and_harms_no_other(database: str) -> None:
    async def refuse(tx: psycopg.AsyncConnection[Any]) -> None:
        await remember(tx, "test_key", "never")
        raise ValueError("refused")

    @workflow
    async def keeping(ctx: Context) -> str:
        await ctx.transaction("remember", remember, "other_key", "kept")
        try:
            await ctx.transaction(Call("refuse", retry=RetryPolicy(max_retries=1, backoff=0)), refuse)
        except StepFailed as error:
            return error.message
        return ""

    await rows_of_new_table(database, KEPT)
    async with AsyncClient(database) as client:
        handle = await client.begin(keeping)
        assert await Worker(database, [keeping]).process_one()
        assert await handle.result(timeout=0) == "refused"
    assert await rows(database, "SELECT * FROM kept") == [("other_key", "kept")]


async def test_42_a_failing_statement_costs_one_step_and_neither_the_memos_nor_the_others(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(calls)

    async def spoil(tx: psycopg.AsyncConnection[Any]) -> None:
        await tx.execute("SELECT no_such_column FROM no_such_table")

    async def count() -> int:
        calls["counted"] += 1
        return calls["counted"]

    @workflow
    async def spoiling(ctx: Context) -> None:
        await ctx.execute("count", count)
        await ctx.transaction(Call("spoil", retry=RetryPolicy(max_retries=0)), spoil)

    worker = Worker(database, [spoiling, simple], poll_interval=0.05)
    task = asyncio.create_task(worker.run())
    async with AsyncClient(database) as client:
        spoiled = await client.begin(spoiling)
        assert await (await client.begin(simple, "World")).result(timeout=10) == "Hello, World!"
        await reached(client, spoiled.run_key, "failed")
        status = await spoiled.info()
        assert status.error is not None
        assert "no_such_table" in status.error.message

        # Whoever polls meanwhile does not claim it again.
        for _ in range(3):
            assert await (await client.begin(simple, "again")).result(timeout=10) == "Hello, again!"
        assert await rows(database, "SELECT epoch FROM durable.runs WHERE workflow_name = 'spoiling'") == [(1,)]
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait({task})
    memos = await rows(database, "SELECT step_key, status FROM durable.steps WHERE step_key <> 'greet' ORDER BY seq")
    assert memos == [("count", "completed"), ("spoil", "failed")]
    assert calls["counted"] == 1
    assert not await process_all(Worker(database, [spoiling, simple]))


async def test_a_transaction_step_commits_its_work_and_its_memo_together(database: str) -> None:
    async def book(tx: psycopg.AsyncConnection[Any], amount: int) -> int:
        await tx.execute("INSERT INTO bookings VALUES (%s)", (amount,))
        return amount

    async def fail(tx: psycopg.AsyncConnection[Any], amount: int) -> None:
        await book(tx, amount)
        raise Terminal("undone")

    @workflow
    async def booking(ctx: Context) -> int:
        try:
            await ctx.transaction("fail", fail, 1)
        except StepFailed:
            return await ctx.transaction("book", book, 2)
        return 0

    await rows_of_new_table(database, "bookings (amount int)")
    async with running(database, booking) as client:
        assert await (await client.begin(booking)).result(timeout=10) == 2
    assert await rows(database, "SELECT amount FROM bookings") == [(2,)]
    assert await rows(database, "SELECT step_key, status, seq FROM durable.steps ORDER BY seq") == [
        ("fail", "failed", 1),
        ("book", "completed", 2),
    ]


async def rows_of_new_table(dsn: str, definition: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(f"CREATE TABLE {definition}")  # type: ignore[arg-type]


async def test_a_statement_that_fails_inside_a_transaction_step_can_be_retried(database: str) -> None:
    calls: Counter[str] = Counter()

    async def flaky(tx: psycopg.AsyncConnection[Any]) -> str:
        calls["flaky"] += 1
        if calls["flaky"] == 1:
            await tx.execute("SELECT 1 / 0")
        return "fine"

    @workflow
    async def retried(ctx: Context) -> str:
        return await ctx.transaction(Call("flaky", retry=AT_ONCE), flaky)

    async with running(database, retried) as client:
        assert await (await client.begin(retried)).result(timeout=10) == "fine"


async def test_a_connection_lost_inside_a_transaction_step_uses_up_no_retry(database: str) -> None:
    pids: list[int] = []

    async def suicidal(tx: psycopg.AsyncConnection[Any]) -> int:
        await tx.execute("INSERT INTO ledger VALUES (1)")
        pids.append(tx.info.backend_pid)
        if len(pids) == 1:
            await tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return len(pids)

    @workflow
    async def booking(ctx: Context) -> int:
        return await ctx.transaction(Call("book", retry=ONCE), suicidal)

    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("CREATE TABLE ledger (entry int)")
        async with AsyncClient(database) as client, Worker(database, [booking]):
            assert await (await client.begin(booking)).result(timeout=20) == 2
        cursor = await connection.execute("SELECT count(*) FROM ledger")
        assert await cursor.fetchone() == (1,)


async def test_two_transaction_steps_in_a_deadlock_both_succeed(database: str) -> None:
    both_hold_one = asyncio.Barrier(2)
    calls: list[str] = []

    async def cross(tx: psycopg.AsyncConnection[Any], first: int, second: int) -> str:
        calls.append(f"{first}{second}")
        await tx.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", (first,))
        if len(calls) <= 2:
            await both_hold_one.wait()
        await tx.execute("UPDATE accounts SET balance = balance + 1 WHERE id = %s", (second,))
        return "crossed"

    @workflow
    async def crossing(ctx: Context, order: tuple[int, int]) -> str:
        return await ctx.transaction(Call("cross", retry=ONCE), cross, *order)

    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("CREATE TABLE accounts AS SELECT id, 0 AS balance FROM generate_series(1, 2) AS id")
        async with AsyncClient(database) as client, Worker(database, [crossing]):
            handles = [await client.begin(crossing, order) for order in ((1, 2), (2, 1))]
            assert [await handle.result(timeout=20) for handle in handles] == ["crossed", "crossed"]
        cursor = await connection.execute("SELECT sum(balance) FROM accounts")
        assert await cursor.fetchone() == (4,)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (psycopg.errors.SerializationFailure("always"), 1 + 2),
        (psycopg.errors.QueryCanceled("its own time limit"), 1),
        (psycopg.OperationalError("another database is away"), 1),
        (ConnectionRefusedError("another service is away"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_a_transaction_step_that_can_never_succeed_ends(
    database: str, monkeypatch: pytest.MonkeyPatch, error: Exception, calls: int
) -> None:
    monkeypatch.setattr(steps_module, "_MAX_EXCUSED", 2)
    called: list[None] = []

    async def hopeless(tx: psycopg.AsyncConnection[Any]) -> None:
        called.append(None)
        raise error

    @workflow
    async def trying(ctx: Context) -> None:
        await ctx.transaction(Call("try", retry=ONCE), hopeless)

    async with AsyncClient(database) as client, Worker(database, [trying]):
        with pytest.raises(RunFailed, match=type(error).__name__):
            await (await client.begin(trying)).result(timeout=20)
    assert len(called) == calls
