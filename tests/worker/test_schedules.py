"""Schedules end to end: what begins runs by the clock, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Context,
    Cron,
    Every,
    InvalidArgument,
    Run,
    ScheduleInfo,
    ScheduleNotFound,
    Worker,
    workflow,
)
from durable.admin.migration import migrate

YEARLY = Cron("0 0 1 1 *")
LONG_AGO = timedelta(days=400)


@workflow
async def report(ctx: Context, name: str) -> str | None:
    return None if ctx.scheduled_at is None else f"{name} {ctx.scheduled_at.isoformat()}"


@workflow
async def lasting(ctx: Context) -> None:
    await ctx.wait_for_event("end", "end")


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (answer := await condition()):
            await asyncio.sleep(0.01)
        return answer


class Office:
    """A client and what tests do with schedules behind its back."""

    def __init__(self, client: AsyncClient, connection: psycopg.AsyncConnection[Any]) -> None:
        self.client = client
        self.connection = connection

    async def backdate(self, schedule_id: str, next_tick: datetime) -> None:
        await self.connection.execute(
            "UPDATE durable.schedules SET next_tick_at = %s, due_at = %s WHERE schedule_id = %s",
            (next_tick, next_tick, schedule_id),
        )
        await self.client.resume_schedule(schedule_id)  # which tells the workers

    async def the(self, schedule_id: str) -> ScheduleInfo:
        (found,) = [one for one in await self.client.list_schedules() if one.schedule_id == schedule_id]
        return found

    async def runs(self) -> list[Run]:
        return (await self.client.list_runs(limit=2000))[::-1]

    async def ticks(self) -> list[datetime]:
        cursor = await self.connection.execute("SELECT scheduled_at FROM durable.runs ORDER BY scheduled_at")
        return [row[0] for row in await cursor.fetchall()]

    async def moved_past(self, schedule_id: str, moment: datetime) -> bool:
        next_tick = (await self.the(schedule_id)).next_tick_at
        return next_tick is not None and next_tick > moment


@asynccontextmanager
async def office(database: str, *, worker: bool = True) -> AsyncIterator[Office]:
    async with (
        AsyncClient(database) as client,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
    ):
        if not worker:
            yield Office(client, connection)
            return
        async with Worker(database, [report, lasting]):
            yield Office(client, connection)


async def test_a_schedule_begins_a_run_at_each_tick_and_hands_it_the_tick(database: str) -> None:
    async with office(database) as desk:
        assert await desk.client.schedule(report, "daily", "reports", Every(0.1))
        await until(lambda: _more_than(desk, 3))
        await desk.client.delete_schedule("reports")
        ticks = await desk.ticks()
        first = (await desk.runs())[0]
        output = await desk.client.handle(first.run_key, report).result(timeout=10)

    assert {after - before for before, after in pairwise(ticks)} == {timedelta(seconds=0.1)}
    assert output == f"daily {ticks[0].astimezone(UTC).isoformat()}"


async def _more_than(desk: Office, count: int) -> bool:
    return len(await desk.ticks()) > count


async def test_ten_workers_begin_one_run_a_tick(database: str) -> None:
    async with AsyncClient(database) as client:
        workers = [Worker(database, [report]) for _ in range(10)]
        started = [asyncio.create_task(worker.__aenter__()) for worker in workers]
        await asyncio.gather(*started)
        await client.schedule(report, "x", "often", Every(0.05))
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            desk = Office(client, connection)
            await until(lambda: _more_than(desk, 12))
            await client.pause_schedule("often")
            ticks = await desk.ticks()
        await asyncio.gather(*(worker.__aexit__(None, None, None) for worker in workers))
    assert len(ticks) == len(set(ticks))


@pytest.mark.parametrize(("catch_up", "expected"), [("one", 1), ("all", 13), ("skip", 0)])
async def test_missed_ticks_are_made_up_for_as_asked(database: str, catch_up: Any, expected: int) -> None:
    async with office(database) as desk:
        now = datetime.now(UTC)
        anchor = now - timedelta(hours=13, minutes=30)
        await desk.client.schedule(report, "x", "hourly", Every(3600), catch_up=catch_up)
        await desk.connection.execute("UPDATE durable.schedules SET anchor_at = %s", (anchor,))
        await desk.backdate("hourly", anchor + timedelta(hours=1))
        await until(lambda: desk.moved_past("hourly", now))
        ticks = await desk.ticks()
    assert len(ticks) == expected
    assert not ticks or ticks[-1] == anchor + timedelta(hours=13)


async def test_a_tick_that_was_missed_by_a_year_begins_one_run(database: str) -> None:
    async with office(database) as desk:
        await desk.client.schedule(report, "x", "minutely", Cron("* * * * *"))
        await desk.backdate("minutely", datetime.now(UTC) - LONG_AGO)
        await until(lambda: desk.moved_past("minutely", datetime.now(UTC) - timedelta(minutes=1)))
        assert len(await desk.ticks()) == 1


async def test_overlap_skip_drops_ticks_while_the_run_before_goes_on(database: str) -> None:
    async with office(database) as desk:
        await desk.client.schedule(lasting, None, "tight", Every(0.05), overlap="skip")
        (run,) = await until(desk.runs)
        first = (await desk.the("tight")).next_tick_at
        await until(lambda: desk.moved_past("tight", first + timedelta(seconds=0.3)))
        assert len(await desk.ticks()) == 1
        await desk.client.publish_event(run.run_key, "end")
        await until(lambda: _more_than(desk, 1))


async def test_overlap_buffer_one_lets_one_tick_wait(database: str) -> None:
    async with office(database) as desk:
        await desk.client.schedule(lasting, None, "tight", Every(0.05), overlap="buffer_one")
        (run,) = await until(desk.runs)
        first = (await desk.the("tight")).next_tick_at
        await until(lambda: desk.moved_past("tight", first + timedelta(seconds=0.3)))
        await desk.client.pause_schedule("tight")
        before = await desk.ticks()
        await desk.connection.execute("UPDATE durable.schedules SET ends_at = now()")
        await desk.client.publish_event(run.run_key, "end")
        await desk.client.handle(run.run_key, lasting).result(timeout=10)
        await desk.client.resume_schedule("tight")
        await until(lambda: _more_than(desk, 1))
        after = await desk.ticks()
    assert len(before) == 1
    assert len(after) == 2
    assert after[1] - after[0] == timedelta(seconds=0.05)


async def test_overlap_cancel_other_cancels_the_run_before(database: str) -> None:
    async with office(database) as desk:
        await desk.client.schedule(lasting, None, "fresh", Every(0.2), overlap="cancel_other")
        await until(lambda: _more_than(desk, 2))
        await desk.client.pause_schedule("fresh")

        async def all_but_the_last_are_cancelled() -> bool:
            return all(run.status == "cancelled" for run in (await desk.runs())[:-1])

        await until(all_but_the_last_are_cancelled)
        assert (await desk.runs())[-1].status != "cancelled"


async def test_a_paused_schedule_rests_also_when_it_is_scheduled_again(database: str) -> None:
    async with office(database) as desk:
        await desk.client.schedule(report, "x", "often", Every(0.05))
        await until(lambda: _more_than(desk, 1))
        await desk.client.pause_schedule("often")
        await until(lambda: _is_settled(desk))
        before = len(await desk.ticks())
        assert not await desk.client.schedule(report, "y", "often", Every(0.05))
        assert (await desk.the("often")).is_paused
        await asyncio.sleep(0.3)  # six ticks
        assert len(await desk.ticks()) == before
        resumed = datetime.now(UTC)
        await desk.client.resume_schedule("often")
        await until(lambda: _more_than(desk, before))
        assert (await desk.ticks())[before] > resumed - timedelta(seconds=0.05)


async def _is_settled(desk: Office) -> bool:
    return all(run.status == "completed" for run in await desk.runs())


async def test_scheduling_again_moves_the_next_tick_only_if_it_fires_otherwise(database: str) -> None:
    async with office(database, worker=False) as desk:
        await desk.client.schedule(report, "x", "s", Every(3600))
        first = await desk.the("s")
        await desk.client.schedule(report, "y", "s", Every(3600), overlap="skip")
        same = await desk.the("s")
        await desk.client.schedule(report, "y", "s", Every(1800))
        other = await desk.the("s")
    assert (same.next_tick_at, same.overlap) == (first.next_tick_at, "skip")
    assert first.next_tick_at is not None
    assert other.next_tick_at is not None
    assert other.next_tick_at < first.next_tick_at


async def test_run_now_begins_one_run_when_the_schedule_is_new(database: str) -> None:
    async with office(database) as desk:
        for _ in range(3):
            await desk.client.schedule(report, "x", None, YEARLY, run_now=True)
        await until(lambda: _is_settled(desk))
        assert len(await desk.runs()) == 1
        assert (await desk.the("report")).next_tick_at.month == 1  # type: ignore[union-attr]


async def test_a_trigger_and_a_backfill_begin_runs_of_their_own(database: str) -> None:
    async with office(database) as desk:
        await desk.client.schedule(report, "x", "yearly", YEARLY)
        triggered = await desk.client.trigger_schedule("yearly")
        start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)
        filled = await desk.client.backfill_schedule("yearly", start, end)
        assert await desk.client.backfill_schedule("yearly", start, end) == filled
        outputs = [await desk.client.handle(key, report).result(timeout=10) for key in filled]
        assert triggered not in filled
        assert outputs == [f"x {year}-01-01T00:00:00+00:00" for year in (2020, 2021, 2022, 2023)]
        assert len(await desk.runs()) == 5
        with pytest.raises(InvalidArgument, match="future"):
            await desk.client.backfill_schedule("yearly", start, datetime.now(UTC) + timedelta(days=1))


async def test_a_backfill_finds_what_was_begun_before_the_shard_count_was_raised(database: str) -> None:
    start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    async with office(database, worker=False) as desk:
        await desk.client.schedule(report, "x", "yearly", YEARLY)
        before = await desk.client.backfill_schedule("yearly", start, end)
    migrate(database, shard_count=8)
    async with office(database, worker=False) as desk:
        assert await desk.client.backfill_schedule("yearly", start, end) == before
        longer = await desk.client.backfill_schedule("yearly", datetime(2015, 1, 1, tzinfo=UTC), end)
        assert longer[-len(before) :] == before
        assert len(await desk.ticks()) == len(set(await desk.ticks())) == len(longer)


async def test_an_unreadable_schedule_rests_and_stalls_nobody(database: str) -> None:
    async with office(database) as desk:
        await desk.connection.execute(
            "INSERT INTO durable.schedules (schedule_id, workflow_name, expression, timezone) VALUES"
            " ('bad', 'report', 'definitely not cron', 'UTC'), ('nowhere', 'report', '* * * * *', 'Mars/Olympus')"
        )
        await desk.connection.execute(
            "INSERT INTO durable.schedules (schedule_id, workflow_name, expression, next_tick_at)"
            " VALUES ('far', 'report', '* * * * *', '9998-06-01Z')"
        )
        await desk.client.schedule(report, "x", "good", Every(0.05))
        await until(lambda: _more_than(desk, 2))
        assert (await desk.the("far")).problem is not None
        bad, nowhere = await desk.the("bad"), await desk.the("nowhere")
        assert bad.problem is not None
        assert "definitely not cron" in bad.problem
        assert nowhere.problem is not None
        await desk.client.schedule(report, "x", "bad", Every(3600))
        assert (await desk.the("bad")).problem is None


async def test_a_schedule_written_by_sql_fires_without_a_notification(database: str) -> None:
    async with office(database) as desk:
        await desk.connection.execute(
            "INSERT INTO durable.schedules (schedule_id, workflow_name, expression, input)"
            " VALUES ('by hand', 'report', '@every 0.1s', '\"x\"')"
        )
        await until(lambda: _more_than(desk, 1))


async def test_schedules_of_unknown_workflows_are_left_alone(database: str) -> None:
    @workflow
    async def elsewhere(ctx: Context) -> None: ...

    async with office(database) as desk:
        await desk.client.schedule(elsewhere, None, "elsewhere", Every(0.05))
        await desk.client.schedule(report, "x", "here", Every(0.05))
        await until(lambda: _more_than(desk, 2))
        assert {run.workflow_name for run in await desk.runs()} == {"report"}


async def test_jitter_delays_each_run_by_less_than_itself_and_moves_no_tick(database: str) -> None:
    async with office(database) as desk:
        await desk.client.schedule(report, "x", "wobbly", Every(0.3), jitter=0.2)
        await until(lambda: _more_than(desk, 4))
        ticks = await desk.ticks()
    assert {after - before for before, after in pairwise(ticks)} == {timedelta(seconds=0.3)}


async def test_bounds_begin_and_end_a_schedule(database: str) -> None:
    async with office(database) as desk:
        end = datetime.now(UTC) + timedelta(seconds=0.4)
        await desk.client.schedule(report, "x", "bounded", Every(0.1), end=end)

        async def is_over() -> bool:
            return (await desk.the("bounded")).next_tick_at is None

        await until(is_over)
        assert (await desk.ticks())[-1] <= end


@pytest.mark.parametrize(
    "arguments",
    [
        {"schedule": "* * *"},
        {"schedule": "0 0 30 2 *"},
        {"schedule": 5},
        {"timezone": "Mars/Olympus"},
        {"overlap": "perhaps"},
        {"catch_up": None},
        {"jitter": -1},
        {"run_now": "yes"},
        {"start": datetime(2030, 1, 1)},
        {"end": datetime(2000, 1, 1, tzinfo=UTC)},
        {"schedule_id": ""},
        {"input": 5},
    ],
    ids=str,
)
async def test_what_can_never_be_meant_is_refused_and_not_stored(database: str, arguments: dict[str, Any]) -> None:
    given: dict[str, Any] = {"input": "x", "schedule_id": "s", "schedule": Every(60), **arguments}
    async with office(database, worker=False) as desk:
        with pytest.raises(InvalidArgument):
            await desk.client.schedule(report, given.pop("input"), given.pop("schedule_id"), **given)
        assert await desk.client.list_schedules() == []


async def test_a_schedule_that_is_not_there_is_not_found(database: str) -> None:
    async with office(database, worker=False) as desk:
        now = datetime.now(UTC)
        for call in (
            desk.client.pause_schedule("s"),
            desk.client.resume_schedule("s"),
            desk.client.delete_schedule("s"),
            desk.client.trigger_schedule("s"),
            desk.client.backfill_schedule("s", now, now),
        ):
            with pytest.raises(ScheduleNotFound):
                await call
