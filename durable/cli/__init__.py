"""The `durable` command."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from contextlib import suppress

import psycopg

from durable.admin.migrate import migrate, roles_sql, schema_sql
from durable.admin.prune import prune
from durable.cli.refusals import say_refused
from durable.core.errors import DurableError, InvalidArgument
from durable.embedded import database, named
from durable.store.migrations import latest_version

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0 if it succeeded, 1 if it failed or the proof did not hold, 130 if
    it was interrupted. Wrong usage exits with status 2."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.verb(options))
    except (DurableError, psycopg.Error) as error:
        return say_refused(error)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="durable", description="Durable execution for Python on Postgres.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--dsn", help="the database (default: $DURABLE_DATABASE_URL if set, otherwise the embedded server)"
    )
    common.add_argument("--schema", default="durable", help="the schema of durable's tables (default: %(default)s)")

    demo = verbs.add_parser("demo", parents=[common], help="process insurance claims while a worker is killed")
    demo.add_argument("--runs", type=int, default=1000, help="number of claims, at most 10,000 (default: %(default)s)")
    demo.add_argument("--keep", action="store_true", help="keep the database for inspection")
    demo.set_defaults(verb=_demo)

    migrating = verbs.add_parser("migrate", parents=[common], help="create the schema or bring it up to date")
    migrating.add_argument("--shards", type=int, help="raise the number of shard values of each workflow")
    migrating.add_argument("--citus", action="store_true", help="distribute the tables over the Citus cluster")
    migrating.set_defaults(verb=_migrate)

    printing = verbs.add_parser("schema", parents=[common], help="print the SQL of the schema")
    printing.add_argument("--citus", action="store_true", help="add the SQL that distributes it over a Citus cluster")
    printing.add_argument("--roles", action="store_true", help="print the SQL for least-privilege roles instead")
    printing.set_defaults(verb=_schema)

    pruning = verbs.add_parser(
        "prune", parents=[common], help="delete runs that ended long ago, with everything that belongs to them"
    )
    pruning.add_argument(
        "--older-than", required=True, metavar="AGE", help="how long ago they ended, such as 30d, 12h, 90m or 45s"
    )
    pruning.add_argument("--workflow", metavar="NAME", help="delete only the runs of this workflow")
    pruning.set_defaults(verb=_prune)

    working = verbs.add_parser("worker", parents=[common], help="run a worker until it is stopped")
    working.add_argument("workflows", metavar="module:attribute", nargs="+", help="a workflow, or a list of workflows")
    working.add_argument(
        "--processes", type=int, default=1, help="number of worker processes to run (default: %(default)s)"
    )
    working.set_defaults(verb=_worker)
    return parser


def _demo(options: argparse.Namespace) -> int:
    try:
        from durable.cli.demo import run_demo
    except ModuleNotFoundError as error:
        raise DurableError(f"the demo needs {error.name}: run `pip install 'durable-flows[cli]'`") from None

    with database(options.dsn) as dsn:
        status = run_demo(dsn, schema=options.schema, runs=options.runs, keep=options.keep)
        if options.keep and named(options.dsn) is None and sys.stdin.isatty():
            with suppress(EOFError):
                input("The embedded server stops when this command ends. Press Enter when you are done looking. ")
    return status


def _migrate(options: argparse.Namespace) -> int:
    with database(options.dsn) as dsn:
        applied = migrate(dsn, schema=options.schema, shard_count=options.shards, citus=options.citus)
    done = f"applied {', '.join(map(str, applied))}" if applied else "nothing to do"
    print(f"schema {options.schema!r} has version {latest_version()}: {done}")
    return 0


def _schema(options: argparse.Namespace) -> int:
    print(roles_sql(options.schema) if options.roles else schema_sql(options.schema, citus=options.citus))
    return 0


def _prune(options: argparse.Namespace) -> int:
    age = _AGE.fullmatch(options.older_than)
    if age is None:
        raise InvalidArgument("--older-than", options.older_than, "a number with a unit, such as 30d, 12h, 90m or 45s")
    with database(options.dsn) as dsn:
        deleted = prune(
            dsn, older_than=float(age[1]) * _UNIT_SECONDS[age[2]], workflow=options.workflow, schema=options.schema
        )
    print(f"deleted {deleted:,} {'run' if deleted == 1 else 'runs'} that ended more than {options.older_than} ago")
    return 0


def _worker(options: argparse.Namespace) -> int:
    from durable.cli.worker import Order, supervise, work

    if options.processes < 1:
        raise InvalidArgument("--processes", options.processes, "at least 1")
    with database(options.dsn) as dsn:
        order = Order(dsn, options.schema, tuple(options.workflows))
        if options.processes == 1:
            work(order)
        else:
            supervise(order, options.processes)
    return 0
