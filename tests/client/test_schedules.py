"""Schedules as clients make and change them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Client, Context, Cron, Every, InvalidArgument, ScheduleNotFound, Worker, workflow
from durable.store.channels import work_channel
from tests.watching import rows
from tests.worker.flows import process_all

YEARLY = Cron("0 0 1 1 *")


@workflow
async def report(ctx: Context, what: str) -> str:
    return what


@workflow
async def other_report(ctx: Context, what: str) -> str:
    return what


async def test_scheduling_again_replaces_workflow_input_and_expression_in_place(database: str) -> None:
    stored = "SELECT schedule_id, workflow_name, input #>> '{}', expression, next_tick_at FROM durable.schedules"
    async with AsyncClient(database) as client:
        assert await client.schedule(report, "first", "s", YEARLY)
        ((*_, new_year),) = await rows(database, stored)
        assert not await client.schedule(other_report, "second", "s", YEARLY)
        assert await rows(database, stored) == [("s", "other_report", "second", "0 0 1 1 *", new_year)]
        assert not await client.schedule(report, "third", "s", Every(60))
        ((*same, soon),) = await rows(database, stored)
    assert same == ["s", "report", "third", "@every 60s"]
    assert soon < new_year


@pytest.mark.parametrize("schedule", [Every(3600), Cron("* * * * *")], ids=str)
async def test_a_new_schedule_does_not_fire_at_once(database: str, schedule: Any) -> None:
    async with AsyncClient(database) as client:
        await client.schedule(report, "x", "s", schedule)
    assert await rows(database, "SELECT next_tick_at > created_at, last_tick_at FROM durable.schedules") == [
        (True, None)
    ]
    assert await rows(database, "SELECT * FROM durable.runs") == []


async def test_run_now_is_queued_by_the_transaction_that_schedules(database: str) -> None:
    async with AsyncClient(database) as client, await psycopg.AsyncConnection.connect(database) as tx:
        await client.schedule_tx(tx, report, "x", "s", YEARLY, run_now=True)
        assert await rows(database, "SELECT * FROM durable.runs") == []
        await tx.commit()
    assert await rows(database, "SELECT status, schedule_id FROM durable.runs") == [("queued", "s")]


async def test_pausing_and_deleting_a_schedule_leave_its_runs_alone(database: str) -> None:
    async with AsyncClient(database) as client:
        await client.schedule(report, "x", "s", YEARLY, run_now=True)
        before = await rows(database, "SELECT * FROM durable.runs")
        await client.pause_schedule("s")
        await client.resume_schedule("s")
        await client.delete_schedule("s")
        assert await rows(database, "SELECT * FROM durable.runs") == before
        assert await process_all(Worker(database, [report])) == 1
        (run,) = await client.list_runs()
        assert await client.get_run_output(run.run_key, str) == "x"


async def test_a_schedule_without_an_id_or_that_is_not_there_is_refused(database: str) -> None:
    async with AsyncClient(database) as client:
        for request in (client.pause_schedule, client.resume_schedule, client.delete_schedule, client.trigger_schedule):
            with pytest.raises(InvalidArgument, match="schedule_id must be "):
                await request("")
            with pytest.raises(ScheduleNotFound, match="nowhere"):
                await request("nowhere")


@pytest.mark.parametrize("no_workflow", [None, "report", report.function], ids=["none", "name", "function"])
async def test_only_a_workflow_can_be_scheduled(database: str, no_workflow: Any) -> None:
    async with AsyncClient(database) as client:
        with pytest.raises(InvalidArgument, match="@workflow"):
            await client.schedule(no_workflow, "x", "s", YEARLY)
    assert await rows(database, "SELECT * FROM durable.schedules") == []


async def test_workers_are_told_of_whatever_may_bring_a_tick_nearer(database: str) -> None:
    async with (
        AsyncClient(database) as client,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as listener,
    ):
        await listener.execute(f"LISTEN {work_channel('durable')}".encode())
        heard: list[str] = []

        async def listen_up_to(mark: str) -> None:
            await rows(database, "SELECT pg_notify(%s, %s)", work_channel("durable"), mark)
            async with asyncio.timeout(10):
                while not heard or heard[-1] != mark:
                    heard.extend([notice.payload async for notice in listener.notifies(stop_after=1)])

        await client.schedule(report, "x", "s", YEARLY)
        await listen_up_to("new")
        await client.schedule(report, "x", "s", Every(60))
        await listen_up_to("changed")
        await client.pause_schedule("s")
        await listen_up_to("paused")
        await client.resume_schedule("s")
        await listen_up_to("resumed")
        await client.delete_schedule("s")
        await listen_up_to("deleted")
    kinds = [payload.partition(":")[0] for payload in heard]
    # Who looked because of a pause or a deletion would find nothing to do.
    assert kinds == ["schedule", "new", "schedule", "changed", "paused", "schedule", "resumed", "deleted"]


def test_a_transaction_that_rolls_back_schedules_nothing(database: str) -> None:
    with Client(database) as client, psycopg.connect(database) as tx:
        client.schedule_tx(tx, report, "x", "s", Every(60), run_now=True)
        assert [one.schedule_id for one in client.list_schedules_tx(tx)] == ["s"]
        client.pause_schedule_tx(tx, "s")
        client.resume_schedule_tx(tx, "s")
        client.trigger_schedule_tx(tx, "s")
        tx.rollback()
        assert client.list_schedules() == []
        assert client.list_runs() == []
        client.schedule_tx(tx, report, "x", "s", Every(60))
        tx.commit()
        client.delete_schedule_tx(tx, "s")
        tx.rollback()
        assert len(client.list_schedules()) == 1


async def test_bounds_that_change_with_each_deployment_restart_no_interval(database: str) -> None:
    async with AsyncClient(database) as client:
        await client.schedule(report, "x", "s", Every(3600))
        (first,) = await client.list_schedules()
        for minutes in (20, 40, 55):
            # As if that much time had passed since the schedule was made.
            await rows(
                database,
                "UPDATE durable.schedules SET anchor_at = now() - make_interval(mins => %s),"
                " next_tick_at = now() - make_interval(mins => %s) + interval '1 hour' RETURNING 1",
                minutes,
                minutes,
            )
            await client.schedule(report, "x", "s", Every(3600), start=datetime.now(UTC) - timedelta(hours=1))
            ((left,),) = await rows(
                database, "SELECT extract(epoch FROM next_tick_at - now())::float8 FROM durable.schedules"
            )
            assert 0 < left <= 3600 - minutes * 60
    assert first.start is None


async def test_bounds_that_change_keep_a_tick_that_is_overdue_and_still_allowed(database: str) -> None:
    async with AsyncClient(database) as client:
        await client.schedule(report, "x", "s", Every(3600))
        await rows(
            database,
            "UPDATE durable.schedules SET anchor_at = now() - interval '90 minutes',"
            " next_tick_at = now() - interval '30 minutes' RETURNING 1",
        )
        overdue = "SELECT next_tick_at < now() FROM durable.schedules"
        await client.schedule(report, "x", "s", Every(3600), end=datetime.now(UTC) + timedelta(days=1))
        assert await rows(database, overdue) == [(True,)]
        await client.schedule(report, "x", "s", Every(3600), start=datetime.now(UTC))
        assert await rows(database, overdue) == [(False,)]


async def test_a_start_that_moves_forward_brings_the_next_tick_nearer(database: str) -> None:
    async with AsyncClient(database) as client:
        far, near = (datetime.now(UTC) + timedelta(days=days) for days in (300, 1))
        await client.schedule(report, "x", "s", "0 9 * * *", start=far)
        await client.schedule(report, "x", "s", "0 9 * * *", start=near)
        (schedule,) = await client.list_schedules()
    assert schedule.next_tick_at is not None
    assert schedule.next_tick_at < near + timedelta(days=2)


async def test_an_interval_with_an_anchor_is_stored_with_it(database: str) -> None:
    monday = datetime(2026, 3, 2, 9, tzinfo=UTC)
    async with AsyncClient(database) as client:
        await client.schedule(report, "x", "s", Every(timedelta(weeks=2), anchor=monday))
        (schedule,) = await client.list_schedules()
        await client.schedule(report, "y", "s", schedule.schedule)
        (again,) = await client.list_schedules()
    assert schedule.schedule == again.schedule == "@every 1209600s from 2026-03-02T09:00:00+00:00"
    assert schedule.next_tick_at is not None
    assert schedule.next_tick_at == again.next_tick_at
    assert (schedule.next_tick_at - monday) % timedelta(weeks=2) == timedelta()
