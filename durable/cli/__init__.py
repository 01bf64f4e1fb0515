"""The `durable` command, on top of everything else.

``main`` parses the arguments and calls one function per verb: those of ``admin``, of ``worker`` (with ``processes``,
which keeps several of them running) and of ``demo``. Errors that a user can act on are printed by ``refusals``, without
a traceback. Which database is meant is decided in one place, ``durable.embedded.database``: ``--dsn``, the environment,
or a server of one's own, which is then said aloud.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress

import psycopg

from durable.cli.admin import print_schema, run_migrate, run_prune
from durable.cli.refusals import say_refused
from durable.core.errors import DurableError
from durable.embedded import database, named


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
    migrating.add_argument(
        "--citus", action="store_true", help="distribute the tables over a Citus cluster; no worker can work on one yet"
    )
    migrating.set_defaults(verb=run_migrate)

    printing = verbs.add_parser("schema", parents=[common], help="print the SQL of the schema")
    printing.add_argument(
        "--citus", action="store_true", help="add the SQL that distributes it over a Citus cluster (see migrate)"
    )
    printing.add_argument("--roles", action="store_true", help="print the SQL for least-privilege roles instead")
    printing.add_argument(
        "--role-prefix",
        metavar="NAME",
        help="what the names of the roles begin with; the name of the schema if not given",
    )
    printing.set_defaults(verb=print_schema)

    pruning = verbs.add_parser(
        "prune", parents=[common], help="delete runs that ended long ago, with everything that belongs to them"
    )
    pruning.add_argument(
        "--older-than", required=True, metavar="AGE", help="how long ago they ended, such as 30d, 12h, 90m or 45s"
    )
    pruning.add_argument("--workflow", metavar="NAME", help="delete only the runs of this workflow")
    pruning.set_defaults(verb=run_prune)

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


def _worker(options: argparse.Namespace) -> int:
    from durable.cli.worker import run  # asyncio and the worker are loaded only where one runs

    return run(options)
