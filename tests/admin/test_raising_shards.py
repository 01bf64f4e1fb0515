"""The shard count is raised while runs are begun."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from durable import Client, Context, Cron, Worker, workflow
from durable.admin import migrate
from durable.core.runs import RunKey
from tests.client.colours import rows
from tests.watching import until


@workflow
async def job(ctx: Context, name: str) -> str:
    return name


def raising(database: str) -> Any:
    return rows(database, "SELECT shard_count, raising_to FROM durable.settings")[0]


def run_keys(database: str) -> list[str]:
    return [str(RunKey(*row)) for row in rows(database, "SELECT workflow_name_shard, run_id::text FROM durable.runs")]


async def test_a_key_that_is_begun_before_and_while_the_count_is_raised_has_one_run(database: str) -> None:
    """Many keys, because two runs of a key whose shard value stays the same would collide anyway."""
    keys = [str(number) for number in range(8)]
    with Client(database) as client, ThreadPoolExecutor() as threads, psycopg.connect(database) as early:
        begun = [client.begin_tx(early, job, "early", key=key) for key in keys]
        raised = threads.submit(migrate, database, shard_count=8)
        await until(lambda: raising(database) == (1, 8))
        rivals = [threads.submit(client.begin, job, "rival", key=key) for key in keys[:4]]
        await until(lambda: waiting(database) == 4)
        assert not raised.done()
        early.commit()
        assert [rival.result(20).run_key for rival in rivals] == begun[:4]
        raised.result(20)
        assert raising(database) == (8, None)
        assert [client.begin(job, "late", key=key).run_key for key in keys] == begun
    assert len(run_keys(database)) == len(keys)


def waiting(database: str) -> int:
    ((count,),) = rows(database, "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype <> 'virtualxid'")
    return int(count)


def is_waiting_for_readers(database: str) -> bool:
    """Whether the transactions that are waited for are known: those that begin from now on are not among them."""
    looks = "strpos(query, 'virtualtransaction') > 0 AND datname = current_database() AND pid <> pg_backend_pid()"
    return bool(rows(database, f"SELECT 1 FROM pg_stat_activity WHERE {looks}"))


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_key_that_is_begun_under_the_former_count_is_waited_for_under_the_new_one(
    database: str, end: str
) -> None:
    keys = [str(number) for number in range(4)]
    with (
        Client(database) as client,
        ThreadPoolExecutor() as threads,
        psycopg.connect(database) as older,
        psycopg.connect(database) as first,
    ):
        older.execute("SELECT FROM durable.settings")
        raised = threads.submit(migrate, database, shard_count=8)
        await until(lambda: raising(database) == (1, 8) and is_waiting_for_readers(database))
        begun = [client.begin_tx(first, job, "first", key=key) for key in keys]
        older.commit()
        await until(lambda: raising(database) == (8, 8))
        rivals: list[Future[Any]] = [threads.submit(client.begin, job, "rival", key=key) for key in keys]
        await until(lambda: waiting(database) == len(keys))
        assert not raised.done(), "the first still goes by the former count"
        getattr(first, end)()
        found = [rival.result(20).run_key for rival in rivals]
        raised.result(20)
        assert raising(database) == (8, None)
    assert (found == begun) is (end == "commit")
    assert sorted(run_keys(database)) == sorted(map(str, found))


async def test_a_raise_that_was_interrupted_is_completed_by_the_next_one(database: str) -> None:
    rows(database, "UPDATE durable.settings SET raising_to = 8")
    with Client(database) as client:
        begun = client.begin(job, "meanwhile", key="k").run_key
        assert migrate(database) == []
        assert raising(database) == (1, 8)
        migrate(database, shard_count=8)
        assert raising(database) == (8, None)
        assert client.begin(job, "after", key="k").run_key == begun
        rows(database, "UPDATE durable.settings SET raising_to = 8")
        migrate(database, shard_count=8)
        assert raising(database) == (8, None)


async def test_keys_are_looked_for_only_under_counts_that_there_were(database: str) -> None:
    migrate(database, shard_count=3)
    migrate(database, shard_count=8)
    assert rows(database, "SELECT shard_counts FROM durable.settings") == [([1, 3, 8],)]


async def test_several_raises_at_once_end_with_the_highest(database: str) -> None:
    with ThreadPoolExecutor() as threads:
        raises = [threads.submit(migrate, database, shard_count=count) for count in (16, 16, 16, 16)]
        for one in raises:
            one.result(20)
    assert raising(database) == (16, None)


async def test_a_tick_that_a_client_filled_in_under_the_former_count_is_begun_once(database: str) -> None:
    start = datetime.now(UTC) - timedelta(days=3, minutes=1)
    with Client(database) as client:
        client.schedule(job, "tick", "daily", Cron("* * * * *"), catch_up="all")
        due = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)
        filled = client.backfill_schedule("daily", due, due + timedelta(minutes=3))
        assert len(filled) == 4
        rows(database, "UPDATE durable.schedules SET next_tick_at = %s, due_at = now()", due)
        migrate(database, shard_count=8)
        async with Worker(database, [job]):
            await until(lambda: rows(database, "SELECT next_tick_at > now() FROM durable.schedules") == [(True,)])
    ticks = rows(database, "SELECT scheduled_at, count(*) FROM durable.runs GROUP BY 1")
    assert {count for _, count in ticks} == {1}
    assert start < min(tick for tick, _ in ticks)
