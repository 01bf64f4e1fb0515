"""`durable schedules`: looking at schedules and steering them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import click

from durable.cli.moments import moment_of
from durable.cli.options import Target, on_database, with_output
from durable.cli.output import Output, moment, show
from durable.client.schedules import ScheduleInfo
from durable.core.errors import ScheduleNotFound
from durable.core.schedules.expressions import parse_schedule
from durable.core.schedules.timetable import Timetable


@click.command("list")
@with_output
@on_database
def list_schedules(target: Target, output: Output) -> None:
    """List all schedules."""
    with target.client() as client:
        schedules = client.list_schedules()
    columns: dict[str, Callable[[ScheduleInfo], str]] = {
        "SCHEDULE": lambda one: one.schedule_id,
        "WORKFLOW": lambda one: one.workflow_name,
        "EXPRESSION": lambda one: f"{one.schedule} {one.timezone}",
        "STATE": lambda one: "suspended" if one.problem else "paused" if one.is_paused else "active",
        "NEXT": lambda one: moment(one.next_tick_at),
        "LAST": lambda one: moment(one.last_tick_at),
        "LAST RUN": lambda one: "" if one.last_run is None else str(one.last_run),
        "PROBLEM": lambda one: one.problem or "",
    }
    show(schedules, columns, output, form="durable/schedules/1", nothing="no schedules")


@click.command("next")
@click.argument("schedule_id")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many.")
@on_database
def next_ticks(target: Target, schedule_id: str, count: int) -> None:
    """Compute the next ticks of a schedule. Nothing is changed."""
    with target.client() as client:
        found = [one for one in client.list_schedules() if one.schedule_id == schedule_id]
    if not found:
        raise ScheduleNotFound(schedule_id)
    (schedule,) = found
    anchor = schedule.next_tick_at or schedule.created_at
    timetable = Timetable(
        schedule=parse_schedule(schedule.schedule),
        anchor=anchor,
        timezone=schedule.timezone,
        start=schedule.start,
        end=schedule.end,
    )
    after = datetime.now(UTC)
    for _ in range(count):
        tick = timetable.next_tick(after)
        if tick is None:
            break
        click.echo(moment(tick))
        after = tick


@click.command()
@click.argument("schedule_id")
@on_database
def pause(target: Target, schedule_id: str) -> None:
    """Have a schedule begin nothing until it is resumed."""
    with target.client() as client:
        client.pause_schedule(schedule_id)
    click.echo(f"paused {schedule_id}")


@click.command()
@click.argument("schedule_id")
@on_database
def resume(target: Target, schedule_id: str) -> None:
    """Resume a schedule with the first tick after now."""
    with target.client() as client:
        client.resume_schedule(schedule_id)
    click.echo(f"resumed {schedule_id}")


@click.command()
@click.argument("schedule_id")
@on_database
def trigger(target: Target, schedule_id: str) -> None:
    """Begin a run of a schedule now, in addition to its ticks."""
    with target.client() as client:
        click.echo(str(client.trigger_schedule(schedule_id)))


@click.command()
@click.argument("schedule_id")
@click.option("--from", "start", required=True, metavar="TIME", help="The first moment, such as 2026-03-01T00:00Z.")
@click.option("--to", "end", required=True, metavar="TIME", help="The last moment.")
@on_database
def backfill(target: Target, schedule_id: str, start: str, end: str) -> None:
    """Begin the runs of the ticks in a period in the past."""
    with target.client() as client:
        begun = client.backfill_schedule(schedule_id, moment_of("--from", start), moment_of("--to", end))
    for run_key in begun:
        click.echo(str(run_key))


@click.command()
@click.argument("schedule_id")
@on_database
def delete(target: Target, schedule_id: str) -> None:
    """Delete a schedule. The runs that it has begun stay."""
    with target.client() as client:
        client.delete_schedule(schedule_id)
    click.echo(f"deleted {schedule_id}")
