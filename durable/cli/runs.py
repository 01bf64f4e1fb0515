"""`durable runs`: looking at runs and steering them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, get_args

import click
import msgspec

from durable.cli.moments import moment_of
from durable.cli.options import Target, on_database, with_output
from durable.cli.output import Output, age, moment, show, show_one
from durable.client.client import Client
from durable.core.errors import ResultTimeout, RunCancelled, RunFailed
from durable.core.runs import TERMINAL, Run, RunInfo, Status

_STATUSES = click.Choice(get_args(Status))
_LOOK_SECONDS = 1.0


@click.command("list")
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option("--key", help="Only runs that were begun with this key.")
@click.option("--status", type=_STATUSES, help="Only runs with this status.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many at most.")
@click.option("--before", metavar="RUN_KEY", help="Only older runs: the last one of the page before.")
@with_output
@on_database
def list_runs(
    target: Target,
    workflow: str | None,
    key: str | None,
    status: Status | None,
    limit: int,
    before: str | None,
    output: Output,
) -> None:
    """List runs without their payloads, newest first."""
    with target.client() as client:
        runs = client.list_runs(workflow=workflow, key=key, status=status, limit=limit, before=before)
    now = datetime.now(UTC)
    columns: dict[str, Callable[[Run], str]] = {
        "RUN": lambda run: str(run.run_key),
        "STATUS": lambda run: state(run.status, run.status_reason),
        "KEY": lambda run: run.key or "",
        "BEGUN": lambda run: f"{age(run.created_at, now)} ago",
        "ATTEMPTS": lambda run: str(run.attempts) if run.attempts else "",
        "WAKES": lambda run: moment(run.next_wake_at),
        "TAGS": lambda run: " ".join(f"{name}={value}" for name, value in run.tags.items()),
    }
    show(runs, columns, output, form="durable/runs/1", nothing="no such runs")


@click.command("show")
@click.argument("run_key")
@click.option("--payloads", is_flag=True, help="Show what the workflow has set as its status.")
@click.option("--traceback", is_flag=True, help="Show the traceback of the last failure.")
@with_output
@on_database
def show_run(target: Target, run_key: str, payloads: bool, traceback: bool, output: Output) -> None:  # noqa: FBT001
    """Show the state of one run."""
    with target.client() as client:
        info = client.get_run_info(run_key)
    if not payloads:
        info = msgspec.structs.replace(info, detail=None)
    if info.error is not None and not traceback:
        info = msgspec.structs.replace(info, error=msgspec.structs.replace(info.error, traceback=None))
    show_one(info, _lines(run_key, info), output, form="durable/run/1")


def _lines(run_key: str, info: RunInfo) -> dict[str, str | None]:
    error = info.error
    return {
        "run": run_key,
        "status": state(info.status, info.status_reason),
        "begun": moment(info.created_at),
        "updated": moment(info.updated_at),
        "wakes": moment(info.next_wake_at) or None,
        "served": None if info.is_served is None else ("yes" if info.is_served else "no living worker has it"),
        "attempts": f"{info.attempts} failed" if info.attempts else None,
        "takeovers": f"{info.takeovers} workers died while holding it" if info.takeovers else None,
        "chapter": str(info.chapter) if info.chapter > 1 else None,
        "detail": None if info.detail is None else repr(info.detail),
        "error": None if error is None else f"{error.type}: {error.message}",
        "traceback": None if error is None else error.traceback,
    }


def state(status: str, reason: str | None) -> str:
    """Returns the status with what is behind it."""
    return status if reason is None else f"{status} ({reason.replace('_', ' ')})"


@click.command()
@click.argument("run_key")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after this time.")
@on_database
def tail(target: Target, run_key: str, timeout: float | None) -> int:
    """Follow a run until it ends: exit status 0 if it completed, 1 if it failed, 4 if it was cancelled or has not ended
    in time."""
    told: Any = None
    deadline = None if timeout is None else datetime.now(UTC).timestamp() + timeout
    with target.client() as client:
        handle = client.handle(run_key)
        while True:
            info = client.get_run_info(run_key)
            if (info.status, info.detail) != told:
                told = (info.status, info.detail)
                detail = "" if info.detail is None else f"  {info.detail!r}"
                click.echo(f"{moment(datetime.now(UTC))}  {state(info.status, info.status_reason)}{detail}")
            if info.status in TERMINAL:
                return {"completed": 0, "failed": 1}.get(info.status, 4)
            if deadline is not None and datetime.now(UTC).timestamp() >= deadline:
                return 4
            try:
                handle.result(timeout=_LOOK_SECONDS)
            except (ResultTimeout, RunFailed, RunCancelled):
                continue


def _each(target: Target, run_keys: tuple[str, ...], what: str, act: Callable[[Client, str], None]) -> None:
    with target.client() as client:
        for run_key in run_keys:
            act(client, run_key)
            click.echo(f"{what} {run_key}")


@click.command()
@click.argument("run_keys", nargs=-1, required=True, metavar="RUN_KEY...")
@click.option("--reason", help="Why; the workflow sees it as the message of its CancelledError.")
@on_database
def cancel(target: Target, run_keys: tuple[str, ...], reason: str | None) -> None:
    """Ask runs to end. Their workflows may clean up first."""
    _each(target, run_keys, "requested the cancel of", lambda client, run_key: client.cancel_run(run_key, reason))


@click.command()
@click.argument("run_keys", nargs=-1, required=True, metavar="RUN_KEY...")
@click.option("--reason", help="Why.")
@on_database
def terminate(target: Target, run_keys: tuple[str, ...], reason: str | None) -> None:
    """End runs without a clean-up: nothing more of their workflows is executed."""
    _each(target, run_keys, "requested the end of", lambda client, run_key: client.terminate_run(run_key, reason))


@click.command()
@click.argument("run_keys", nargs=-1, required=True, metavar="RUN_KEY...")
@on_database
def retry(target: Target, run_keys: tuple[str, ...]) -> None:
    """Let failed or cancelled runs continue from their memos."""
    _each(target, run_keys, "requested the retry of", lambda client, run_key: client.retry_run(run_key))


@click.command()
@click.argument("run_keys", nargs=-1, required=True, metavar="RUN_KEY...")
@click.option("--reason", help="Why; it is kept with the request.")
@on_database
def pause(target: Target, run_keys: tuple[str, ...], reason: str | None) -> None:
    """Have runs stand still until they are resumed. Steps that are running finish first."""
    _each(target, run_keys, "requested the pause of", lambda client, run_key: client.pause_run(run_key, reason))


@click.command()
@click.argument("run_keys", nargs=-1, required=True, metavar="RUN_KEY...")
@on_database
def resume(target: Target, run_keys: tuple[str, ...]) -> None:
    """Let paused runs go on."""
    _each(target, run_keys, "requested that it go on:", lambda client, run_key: client.resume_run(run_key))


@click.command()
@click.argument("run_key")
@click.option("--delay", type=click.FloatRange(min=0), metavar="SECONDS", help="So many seconds from now.")
@click.option("--at", metavar="TIME", help="At this time, such as 2026-03-01T09:00+09:00.")
@click.option("--sleeps", is_flag=True, help="Have the sleeps of its code end then, too.")
@on_database
def reschedule(target: Target, run_key: str, delay: float | None, at: str | None, sleeps: bool) -> None:  # noqa: FBT001
    """Have a run go on at another time: one that has not started, or is between attempts, or a step between tries."""
    moment_at = None if at is None else moment_of("--at", at)
    with target.client() as client:
        client.reschedule_run(run_key, at=moment_at, delay=delay, sleeps=sleeps)
    click.echo(f"requested that {run_key} go on at another time")


@click.command("run-now")
@click.argument("run_keys", nargs=-1, required=True, metavar="RUN_KEY...")
@click.option("--sleeps", is_flag=True, help="Have the sleeps of their code end, too.")
@on_database
def run_now(target: Target, run_keys: tuple[str, ...], sleeps: bool) -> None:  # noqa: FBT001 - by click, by name
    """Have runs go on at once that wait for a time."""
    act = partial(Client.run_now, sleeps=sleeps)
    _each(target, run_keys, "requested that it go on now:", act)
