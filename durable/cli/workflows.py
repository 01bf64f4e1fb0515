"""`durable workflows`: pausing and resuming workflows."""

from __future__ import annotations

from collections.abc import Callable

import click

from durable.cli.options import Target, on_database, with_output
from durable.cli.output import Output, moment, show
from durable.store.pauses import PausedWorkflow


@click.command()
@with_output
@on_database
def paused(target: Target, output: Output) -> None:
    """List the workflows that are paused."""
    with target.client() as client:
        found = client.list_paused_workflows()
    columns: dict[str, Callable[[PausedWorkflow], str]] = {
        "WORKFLOW": lambda one: one.workflow_name,
        "PAUSED": lambda one: moment(one.paused_at),
        "REASON": lambda one: one.reason or "",
    }
    show(found, columns, output, form="durable/paused-workflows/1", nothing="no workflow is paused")


@click.command()
@click.argument("workflow")
@click.option("--reason", help="Why; `durable workflows paused` shows it.")
@on_database
def pause(target: Target, workflow: str, reason: str | None) -> None:
    """Have no more runs of a workflow claimed. Those that are being executed go on."""
    with target.client() as client:
        is_new = client.pause_workflow(workflow, reason)
    click.echo(f"paused {workflow}" if is_new else f"{workflow} was paused already")


@click.command()
@click.argument("workflow")
@on_database
def resume(target: Target, workflow: str) -> None:
    """Have runs of a workflow claimed again."""
    with target.client() as client:
        is_new = client.resume_workflow(workflow)
    click.echo(f"resumed {workflow}" if is_new else f"{workflow} was not paused")
