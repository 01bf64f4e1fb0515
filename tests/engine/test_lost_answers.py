"""The database has done what a client asked, and the connection breaks in place of the answer."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from durable import AsyncClient, Context, Cron, workflow
from tests.engine.proxy import Proxy


@workflow
async def nothing(ctx: Context) -> None:
    return None


async def count_of_runs(database: str) -> int:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute("SELECT count(*) FROM durable.runs")
        return int((await cursor.fetchall())[0][0])


@pytest.fixture(scope="module")
def yearly() -> Cron:
    return Cron("0 0 1 1 *")


async def test_a_trigger_whose_answer_was_lost_begins_one_run(database: str, yearly: Cron) -> None:
    async with Proxy(database) as proxy, AsyncClient(proxy.conninfo) as client:
        await client.schedule(nothing, None, "yearly", yearly)
        proxy.lose_reply_of_commit()
        run_key = await client.trigger("yearly")
        assert proxy.lost_replies == 1
        assert (await client.get_run_status(run_key)).status == "queued"
        assert await count_of_runs(database) == 1


async def test_a_schedule_whose_answer_was_lost_begins_its_first_run_once(database: str, yearly: Cron) -> None:
    async with Proxy(database) as proxy, AsyncClient(proxy.conninfo) as client:
        await client.list_runs()  # the connection is there
        proxy.lose_reply_of_commit()
        await client.schedule(nothing, None, "yearly", yearly, run_now=True)
        assert proxy.lost_replies == 1
        assert await count_of_runs(database) == 1
        assert [each.schedule_id for each in await client.list_schedules()] == ["yearly"]


async def test_a_delete_of_a_schedule_whose_answer_was_lost_succeeds(database: str, yearly: Cron) -> None:
    async with Proxy(database) as proxy, AsyncClient(proxy.conninfo) as client:
        await client.schedule(nothing, None, "yearly", yearly)
        proxy.lose_reply_of_commit()
        await client.delete_schedule("yearly")
        assert proxy.lost_replies == 1
        assert await client.list_schedules() == []


async def test_runs_begun_together_whose_answer_was_lost_are_begun_once(database: str) -> None:
    async with Proxy(database) as proxy, AsyncClient(proxy.conninfo) as client:
        await client.list_runs()
        proxy.lose_reply_of_commit()
        run_keys = await client.begin_many(nothing, [None] * 3)
        assert proxy.lost_replies == 1
        assert await count_of_runs(database) == len(set(run_keys)) == 3


async def test_a_begin_an_event_a_cancel_whose_answers_were_lost_are_there_once(database: str) -> None:
    async with Proxy(database) as proxy, AsyncClient(proxy.conninfo) as client:
        await client.list_runs()
        for lost in range(1, 4):
            proxy.lose_next_answers()
            if lost == 1:
                handle = await client.begin(nothing, delay=timedelta(hours=1))
            elif lost == 2:
                await client.publish_event(handle.run_key, "news", 1)
            elif lost == 3:
                await client.cancel_run(handle.run_key)
            assert proxy.lost_replies == lost
        assert await count_of_runs(database) == 1
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute("SELECT kind, count(*) FROM durable.events GROUP BY 1 ORDER BY 1")
        assert await cursor.fetchall() == [("cancel", 1), ("event", 1)]
