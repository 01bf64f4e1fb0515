"""`durable demo`, as it is called."""

from __future__ import annotations

import sys
from contextlib import suppress

import click

from durable.cli.demo.demo import run_demo
from durable.cli.options import Target, on_database
from durable.embedded import database, named


@click.command()
@click.option("--runs", type=int, default=1000, show_default=True, help="The number of claims, at most 10,000.")
@click.option("--keep", is_flag=True, help="Keep the database for inspection.")
@on_database
def demo(target: Target, runs: int, keep: bool) -> int:  # noqa: FBT001 - passed by click, by name
    """Process insurance claims while a worker is killed, and prove from the tables that nothing was lost."""
    with database(target.dsn) as dsn:
        status = run_demo(dsn, schema=target.schema, runs=runs, keep=keep)
        if keep and named(target.dsn) is None and sys.stdin.isatty():
            with suppress(EOFError):
                input("The embedded server stops when this command ends. Press Enter when you are done looking. ")
    return status
