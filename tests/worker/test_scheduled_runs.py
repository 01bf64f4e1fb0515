"""Runs begun by the clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import (
    AsyncClient,
    Context,
    Cron,
    Every,
    InvalidArgument,
    ScheduleInfo,
    ScheduleNotFound,
    Worker,
    workflow,
)
from tests.watching import rows, until


@workflow
async def report(ctx: Context) -> str:
    return str(ctx.scheduled_at)


async def ticks_of(dsn: str, schedule_id: str) -> list[datetime]:
    found = "SELECT scheduled_at FROM durable.runs WHERE schedule_id = %s ORDER BY created_at, scheduled_at"
    return [tick for (tick,) in await rows(dsn, found, schedule_id)]


async def until_ticks(dsn: str, schedule_id: str, count: int) -> list[datetime]:
    async def are_enough() -> list[datetime] | None:
        ticks = await ticks_of(dsn, schedule_id)
        return ticks if len(ticks) >= count else None

    ticks: list[datetime] = await until(are_enough)
    return ticks


async def until_the_clock_was_looked_at(dsn: str) -> None:
    """Until the witness has begun some more runs: what else was due has had its turn."""
    await until_ticks(dsn, "witness", len(await ticks_of(dsn, "witness")) + 4)


async def the(client: AsyncClient, schedule_id: str) -> ScheduleInfo:
    (found,) = [one for one in await client.list_schedules() if one.schedule_id == schedule_id]
    return found


async def test_34_a_schedule_begins_runs_by_the_poll_alone(database: str) -> None:
    async with AsyncClient(database) as client:
        assert await client.schedule(report, None, None, Every(0.1))
        async with Worker(database, [report], poll_interval=0.05, notify=False):
            await until_ticks(database, "report", 3)

            async def have_completed() -> bool:
                return len(await client.list_runs(workflow=report, status="completed")) >= 3

            await until(have_completed)
        schedule = await the(client, "report")
    assert (schedule.workflow_name, schedule.schedule) == ("report", "@every 0.1s")
    assert schedule.last_tick_at is not None
    assert schedule.next_tick_at is not None


async def test_a_worker_that_is_told_nothing_finds_a_new_schedule_by_its_poll(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [report], poll_interval=0.05, notify=False) as worker:
        await until(worker.healthy)
        await (await client.begin(report)).result(timeout=20)  # it has looked at what is due, and found nothing
        before = time.monotonic()
        await client.schedule(report, None, "new", Every(0.06))
        await until_ticks(database, "new", 1)
        assert time.monotonic() - before < 10


async def test_35_an_overdue_cron_schedule_begins_one_run_for_its_tick(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [report], poll_interval=0.05):
        now = datetime.now(UTC)
        tick = now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0)
        await client.schedule(report, None, "five", "*/5 * * * *")
        await rows(database, "UPDATE durable.schedules SET next_tick_at = %s, due_at = %s", tick, tick)
        await client.schedule(report, None, "witness", Every(0.06))
        assert (await until_ticks(database, "five", 1))[0] == tick
        await until_the_clock_was_looked_at(database)
        assert [each for each in await ticks_of(database, "five") if each <= now] == [tick]


async def test_36_several_workers_begin_one_run_a_tick(database: str) -> None:
    async with (
        AsyncClient(database) as client,
        Worker(database, [report], poll_interval=0.03),
        Worker(database, [report], poll_interval=0.03),
        Worker(database, [report], poll_interval=0.03),
    ):
        await client.schedule(report, None, None, Every(0.08))
        await until_ticks(database, "report", 7)
        await client.delete_schedule("report")
        ticks = await ticks_of(database, "report")
    assert len(set(ticks)) == len(ticks)
    assert {(tick - ticks[0]) % timedelta(milliseconds=80) for tick in ticks} == {timedelta(0)}


async def test_37_a_paused_schedule_rests_and_makes_up_for_nothing_when_resumed(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [report], poll_interval=0.05):
        await client.schedule(report, None, "witness", Every(0.06))
        await client.schedule(report, None, "paused", Every(0.06), catch_up="all")
        await until_ticks(database, "paused", 1)

        await client.pause_schedule("paused")
        before = await ticks_of(database, "paused")
        await until_the_clock_was_looked_at(database)
        assert await ticks_of(database, "paused") == before
        assert (await the(client, "paused")).is_paused

        ((resumed_at,),) = await rows(database, "SELECT clock_timestamp()")
        await client.resume_schedule("paused")
        after = await until_ticks(database, "paused", len(before) + 2)
        assert min(after[len(before) :]) > resumed_at


async def test_38_a_deleted_schedule_begins_no_more_runs(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [report], poll_interval=0.05):
        await client.schedule(report, None, "witness", Every(0.06))
        await until_ticks(database, "witness", 1)
        assert await ticks_of(database, "deleted") == []
        await client.schedule(report, None, "deleted", Every(0.06))
        await until_ticks(database, "deleted", 1)

        await client.delete_schedule("deleted")
        before = await ticks_of(database, "deleted")
        await until_the_clock_was_looked_at(database)
        assert await ticks_of(database, "deleted") == before
        with pytest.raises(ScheduleNotFound, match="nonexistent"):
            await client.delete_schedule("nonexistent")


async def test_39_a_running_worker_is_told_of_a_new_schedule(database: str) -> None:
    worker = Worker(database, [report], poll_interval=30)
    async with AsyncClient(database) as client, worker:
        await until(lambda: worker.status().is_listening)
        began = time.monotonic()
        await client.schedule(report, None, None, Every(0.06))
        await until_ticks(database, "report", 1)
        assert time.monotonic() - began < 4  # sooner than it looks by itself


async def test_40_run_now_begins_exactly_one_run_of_a_yearly_schedule(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [report], poll_interval=0.05):
        await client.schedule(report, None, "yearly", Cron("0 0 1 1 *"), run_now=True)
        await client.schedule(report, None, "witness", Every(0.06))
        await until_the_clock_was_looked_at(database)

        async def has_completed() -> bool:
            counted = await rows(
                database, "SELECT status FROM durable.runs WHERE schedule_id IS DISTINCT FROM 'witness'"
            )
            return counted == [("completed",)]

        await until(has_completed)


async def test_44_a_schedule_that_cannot_be_read_rests_and_stalls_nobody(database: str) -> None:
    await rows(
        database,
        "INSERT INTO durable.schedules (schedule_id, workflow_name, expression, next_tick_at, due_at) VALUES"
        " ('bad', 'report', 'definitely not cron', now() - interval '1 minute', now() - interval '1 minute')",
    )
    async with AsyncClient(database) as client:
        await client.schedule(report, None, "good", Every(0.1))
        async with Worker(database, [report]):
            await until_ticks(database, "good", 1)
            assert "definitely not cron" in str((await the(client, "bad")).problem)
            assert await ticks_of(database, "bad") == []


class Custom:
    """A schedule of somebody's own."""

    def __str__(self) -> str:
        return "whenever I feel like it"


@pytest.mark.parametrize("schedule", [Custom(), "whenever I feel like it", "@reboot"], ids=str)
async def test_45_a_schedule_that_could_not_be_read_back_is_refused(database: str, schedule: Any) -> None:
    async with AsyncClient(database) as client:
        with pytest.raises(InvalidArgument, match="schedule must be"):
            await client.schedule(report, None, None, schedule)
    assert await rows(database, "SELECT * FROM durable.schedules") == []
