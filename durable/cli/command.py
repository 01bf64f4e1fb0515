"""The verbs of the command line."""

from __future__ import annotations

import importlib
from typing import Any

import click
import msgspec
import psycopg

from durable.cli.refusals import printable, say_refused
from durable.core.errors import DurableError, RunNotFound, ScheduleNotFound

_NOT_FOUND = 3
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Verb(msgspec.Struct, frozen=True):
    """A verb and its line in the list of verbs; ``where`` is the ``module:attribute`` that is imported for it."""

    where: str
    line: str


class LazyGroup(click.Group):
    """A group of verbs that are imported when they are called."""

    def __init__(self, *arguments: Any, verbs: dict[str, Verb], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = self.verbs.get(cmd_name)
        if verb is None:
            return None
        module, _, attribute = verb.where.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.line) for name, verb in self.verbs.items()])


def _group(help: str, **verbs: Verb) -> LazyGroup:
    return LazyGroup(help=help, verbs=verbs, context_settings=_CONTEXT)


RUNS = _group(
    "Look at runs and steer them.",
    list=Verb("durable.cli.runs:list_runs", "list runs, newest first"),
    show=Verb("durable.cli.runs:show_run", "show the state of one run"),
    tail=Verb("durable.cli.runs:tail", "follow a run until it ends"),
    cancel=Verb("durable.cli.runs:cancel", "ask runs to end, with their clean-up"),
    terminate=Verb("durable.cli.runs:terminate", "end runs without a clean-up"),
    pause=Verb("durable.cli.runs:pause", "have runs stand still until they are resumed"),
    resume=Verb("durable.cli.runs:resume", "let paused runs go on"),
    reschedule=Verb("durable.cli.runs:reschedule", "have a run go on at another time"),
    **{"run-now": Verb("durable.cli.runs:run_now", "have runs that wait for a time go on at once")},
    retry=Verb("durable.cli.runs:retry", "let failed or cancelled runs continue from their memos"),
)
EVENTS = _group(
    "Send events to runs.",
    publish=Verb("durable.cli.events:publish", "put an event into the inbox of a run"),
)
SCHEDULES = _group(
    "Look at schedules and steer them.",
    list=Verb("durable.cli.schedules:list_schedules", "list all schedules"),
    next=Verb("durable.cli.schedules:next_ticks", "compute the next ticks of a schedule"),
    pause=Verb("durable.cli.schedules:pause", "have a schedule begin nothing until it is resumed"),
    resume=Verb("durable.cli.schedules:resume", "resume a schedule with the first tick after now"),
    trigger=Verb("durable.cli.schedules:trigger", "begin a run of a schedule now"),
    backfill=Verb("durable.cli.schedules:backfill", "begin the runs of a period in the past"),
    delete=Verb("durable.cli.schedules:delete", "delete a schedule"),
)
WORKFLOWS = _group(
    "Pause and resume workflows.",
    paused=Verb("durable.cli.workflows:paused", "list the workflows that are paused"),
    pause=Verb("durable.cli.workflows:pause", "have no more runs of a workflow claimed"),
    resume=Verb("durable.cli.workflows:resume", "have runs of a workflow claimed again"),
)
_VERBS = {
    "demo": Verb("durable.cli.demo.command:demo", "process insurance claims while a worker is killed"),
    "worker": Verb("durable.cli.worker:worker", "run a worker until it is stopped"),
    "runs": Verb("durable.cli.command:RUNS", "look at runs and steer them"),
    "why": Verb("durable.cli.why:why", "say why runs are not moving"),
    "events": Verb("durable.cli.command:EVENTS", "send events to runs"),
    "schedules": Verb("durable.cli.command:SCHEDULES", "look at schedules and steer them"),
    "workflows": Verb("durable.cli.command:WORKFLOWS", "pause and resume workflows"),
    "migrate": Verb("durable.cli.admin:migrate_schema", "create the schema or bring it up to date"),
    "schema": Verb("durable.cli.admin:print_schema", "print the SQL of the schema"),
    "prune": Verb("durable.cli.admin:prune_runs", "delete runs that ended long ago"),
    "completion": Verb("durable.cli.completion:completion", "print the script that completes commands in a shell"),
}
ROOT = LazyGroup("durable", help="Durable execution for Python on Postgres.", verbs=_VERBS, context_settings=_CONTEXT)


def run(arguments: list[str]) -> int:
    """Runs the command with these arguments and returns its exit status."""
    try:
        status = ROOT.main(arguments, prog_name="durable", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:  # wrong usage
        return say_misused(error)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except (RunNotFound, ScheduleNotFound) as error:
        say_refused(error)
        return _NOT_FOUND
    except (DurableError, psycopg.Error) as error:
        return say_refused(error)


def say_misused(error: click.ClickException) -> int:
    """Prints what is wrong about the arguments, and how the verb is used. Returns the exit status."""
    context = getattr(error, "ctx", None)
    if isinstance(context, click.Context):
        click.echo(context.get_usage(), err=True)
        click.echo(f"Try `{context.command_path} --help`.", err=True)
    click.echo(f"durable: {printable(error.format_message())}", err=True)
    return error.exit_code
