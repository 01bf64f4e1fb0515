"""Runs that begin by the clock: created, changed, paused, triggered, filled in and deleted.

Temporal's `schedules`, Hatchet's cron and scheduled runs, DBOS's `scheduled`. A schedule is a row, so it can be created
along with the data that it belongs to. The code of each deploy may schedule again: that changes it in place.
"""

from datetime import UTC, datetime, timedelta

from durable import AsyncClient, Context, Cron, Every, Worker, workflow


@workflow
async def report(ctx: Context, department: str) -> str:
    return f"{department} at {ctx.scheduled_at:%H:%M}" if ctx.scheduled_at else f"{department}, once"


async def main(dsn: str) -> list[str]:
    async with AsyncClient(dsn) as client, Worker(dsn, [report]):
        # Each working day at nine, also when the clocks change; not while the last run still goes on.
        weekdays = Cron("0 9 * * 1-5")
        await client.schedule(report, "sales", "sales report", weekdays, timezone="Europe/Zurich", overlap="skip")
        await client.schedule(report, "sales", "sales report", Every(timedelta(hours=1)), jitter=60)
        await client.pause_schedule("sales report")
        (info,) = await client.list_schedules()
        found = [f"{info.schedule_id} {info.schedule}, {'paused' if info.is_paused else 'active'}"]

        triggered = await client.trigger_schedule("sales report")  # now, in addition to its ticks
        found.append(await client.handle(triggered, report).result())

        await client.schedule(report, "stock", "stock report", Cron("0 * * * *"))
        past = datetime(2025, 3, 3, 8, 30, tzinfo=UTC)
        missed = await client.backfill_schedule("stock report", past, past + timedelta(hours=3))
        found += [await client.handle(run_key, report).result() for run_key in missed]

        once = await client.begin(report, "taxes", at=datetime.now(UTC) + timedelta(seconds=0.2))
        found.append(await once.result())

        for name in ("sales report", "stock report"):
            await client.delete_schedule(name)
        return [*found, f"{len(await client.list_schedules())} schedules left"]
