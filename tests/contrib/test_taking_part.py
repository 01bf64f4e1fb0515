"""Runs begun and events published inside transactions of every library."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from durable import Context, Cron, Every, RunKey, Worker, workflow
from durable.admin.migration import migrate
from durable.core.errors import InvalidArgument, RunNotFound
from tests.client.colours import rows
from tests.contrib.libraries import open_transaction
from tests.watching import listen_to_work, without_tickets

MISSING = RunKey("greet_0", "00000000-0000-7000-8000-000000000000")


@workflow
async def greet(ctx: Context, name: str) -> str:
    return f"Hello, {name}!"


@workflow
async def await_payment(ctx: Context) -> int:
    return await ctx.wait_for_event("payment", "paid", int)


def runs_in(database: str) -> int:
    return int(rows(database, "SELECT count(*) FROM durable.runs")[0][0])


async def test_a_run_begun_in_a_transaction_completes_after_the_commit(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx, Worker(database, [greet]):
        run_key = await tx.begin_tx(greet, "Grüße :name %(name)s 100% \\ '")
        assert runs_in(database) == 0
        await tx.commit()

        result = tx.client.handle(run_key, greet).result
        output = await result(timeout=10) if tx.is_async else await asyncio.to_thread(result, timeout=10)
        assert output == "Hello, Grüße :name %(name)s 100% \\ '!"


async def test_what_is_rolled_back_was_never_begun_nor_announced(kind: str, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as listener:
        listener.execute(listen_to_work())
        async with open_transaction(kind, database) as tx:
            await tx.begin_tx(greet, "Ada")
            await tx.rollback()
            run_key = await tx.begin_tx(greet, "Bob")
            await tx.publish_event_tx(run_key, "wake")
            await tx.commit()
        payloads = [notice.payload for notice in listener.notifies(timeout=5, stop_after=2)]
        payloads += [notice.payload for notice in listener.notifies(timeout=0.05)]

    assert without_tickets(payloads) == ["first:greet_0", "event:greet_0"]
    assert rows(database, "SELECT input::text FROM durable.runs") == [('"Bob"',)]


async def test_nothing_is_committed_before_the_caller_does(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx:
        await tx.begin_tx(greet, "Ada")

    assert runs_in(database) == 0


async def test_the_run_commits_with_the_row_that_makes_it_necessary(kind: str, database: str) -> None:
    rows(database, "CREATE TABLE orders (id int)")
    both = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM durable.runs)"
    async with open_transaction(kind, database) as tx:
        await tx.execute("INSERT INTO orders VALUES (1)")
        await tx.begin_tx(greet, "Ada")
        await tx.rollback()
        assert rows(database, both) == [(0, 0)]

        await tx.begin_tx(greet, "Ada")
        await tx.execute("INSERT INTO orders VALUES (1)")
        await tx.commit()
        assert rows(database, both) == [(1, 1)]


async def test_an_event_reaches_a_run_begun_in_the_same_transaction(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx, Worker(database, [await_payment]):
        run_key = await tx.begin_tx(await_payment)
        await tx.publish_event_tx(run_key, "paid", 7, key="first")
        await tx.publish_event_tx(run_key, "paid", 8, key="first")
        await tx.commit()

        result = tx.client.handle(run_key, await_payment).result
        assert (await result(timeout=10) if tx.is_async else await asyncio.to_thread(result, timeout=10)) == 7
    assert rows(database, "SELECT count(*) FROM durable.events") == [(1,)]


async def test_a_run_is_cancelled_and_retried_by_the_commit(kind: str, database: str) -> None:
    requests = "SELECT kind FROM durable.events ORDER BY created_at"
    async with open_transaction(kind, database) as tx:
        run_key = await tx.begin_tx(greet, "Ada")
        await tx.commit()
        await tx.call_tx("cancel_run_tx", run_key, "not needed")
        await tx.rollback()
        assert rows(database, requests) == []

        await tx.call_tx("cancel_run_tx", run_key, "not needed")
        await tx.commit()
        rows(database, "UPDATE durable.runs SET status = 'cancelled', completed_at = now()")
        await tx.call_tx("retry_run_tx", run_key)
        await tx.commit()

    assert rows(database, requests) == [("cancel",), ("retry",)]


async def test_a_schedule_is_made_and_changed_by_the_commit(kind: str, database: str) -> None:
    stored = "SELECT schedule_id, expression, paused, jitter FROM durable.schedules"
    start, end = datetime(2031, 1, 1, tzinfo=UTC), datetime(2032, 1, 1, tzinfo=UTC)
    async with open_transaction(kind, database) as tx:
        assert await tx.call_tx("schedule_tx", greet, "Ada", "daily", Cron("0 9 * * *"), run_now=True)
        await tx.rollback()
        assert rows(database, stored) == []

        await tx.call_tx(
            "schedule_tx", greet, "Ada", "daily", "0 9 * * *", timezone="Asia/Tokyo", start=start, end=end, jitter=1.5
        )
        await tx.call_tx("pause_schedule_tx", "daily")
        await tx.commit()
        assert rows(database, stored) == [("daily", "0 9 * * *", True, 1.5)]

        assert not await tx.call_tx("schedule_tx", greet, "Bob", "daily", Every(3600))
        await tx.call_tx("resume_schedule_tx", "daily")
        triggered = await tx.call_tx("trigger_schedule_tx", "daily")
        (listed,) = await tx.call_tx("list_schedules_tx")
        await tx.commit()
        assert rows(database, stored) == [("daily", "@every 3600s", False, 0.0)]
        assert (listed.start, listed.jitter, listed.next_tick_at) == (None, 0.0, None)
        assert rows(database, "SELECT run_id::text, schedule_id, input::text FROM durable.runs") == [
            (triggered.run_id, "daily", '"Bob"')
        ]
        await tx.call_tx("delete_schedule_tx", "daily")
        await tx.commit()
    assert rows(database, stored) == []


async def test_all_that_can_be_said_of_a_run_is_stored(kind: str, database: str) -> None:
    moment = datetime(2040, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    tags = {"customer": "Ümit", "note": 'a "quoted" \\ :word %s'}
    async with open_transaction(kind, database) as tx:
        first = await tx.begin_tx(greet, "a", key="k", delay=timedelta(hours=1), priority=-32768, tags=tags)
        again = await tx.begin_tx(greet, "b", key="k")
        await tx.begin_tx(greet, "c", at=moment, priority=32767)
        await tx.commit()

    assert first == again
    stored = rows(
        database,
        "SELECT input::text, key, priority, tags, status, extract(epoch FROM next_wake_at - created_at)::int,"
        " next_wake_at = %s FROM durable.runs ORDER BY priority",
        moment,
    )
    assert stored == [
        ('"a"', "k", -32768, tags, "sleeping", 3600, False),
        ('"c"', None, 32767, None, "sleeping", stored[1][5], True),
    ]


async def test_a_key_finds_its_run_across_shard_counts(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx:
        first = [await tx.begin_tx(greet, "Ada", key=str(n)) for n in range(5)]
        await tx.commit()
        migrate(database, shard_count=5)
        again = [await tx.begin_tx(greet, "Ada", key=str(n)) for n in range(10)]

    assert again[:5] == first
    assert len({run_key.workflow_name_shard for run_key in again[5:]}) > 1


async def test_a_savepoint_rolled_back_takes_the_run_with_it(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx:
        await tx.begin_tx(greet, "before")
        async with tx.rolled_back():
            await tx.begin_tx(greet, "inside", key="k")
        await tx.begin_tx(greet, "after", key="k")
        await tx.commit()

    assert rows(database, "SELECT input::text FROM durable.runs ORDER BY created_at, run_id") == [
        ('"before"',),
        ('"after"',),
    ]


async def test_what_is_refused_leaves_the_transaction_fit_for_use(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx:
        with pytest.raises(RunNotFound):
            await tx.publish_event_tx(MISSING, "paid")
        with pytest.raises(InvalidArgument):
            await tx.begin_tx(greet, 5)
        await tx.begin_tx(greet, "Ada")
        await tx.commit()

    assert runs_in(database) == 1


async def test_a_failing_statement_of_the_caller_is_told_by_his_library(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx:
        await tx.begin_tx(greet, "lost")
        with pytest.raises(tx.error, match="division by zero"):
            await tx.execute("SELECT 1 / 0")
        with pytest.raises(tx.error, match="transaction is aborted"):
            await tx.begin_tx(greet, "lost")
        await tx.rollback()
        await tx.begin_tx(greet, "Ada")
        await tx.commit()

    assert rows(database, "SELECT input::text FROM durable.runs") == [('"Ada"',)]


async def test_a_failing_statement_of_ours_is_told_by_the_callers_library(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx:
        async with tx.rolled_back():
            await tx.execute("ALTER TABLE durable.runs RENAME TO gone")
            with pytest.raises(tx.error, match=r"durable\.runs"):
                await tx.begin_tx(greet, "lost")
        await tx.begin_tx(greet, "Ada")
        await tx.commit()

    assert runs_in(database) == 1
