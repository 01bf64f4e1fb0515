"""The command `durable`."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import psycopg

from durable.core.errors import DurableError, InvalidArgument, shorten
from durable.core.workflow import Workflow
from durable.embedded import database, named
from durable.migrate import migrate, roles_sql, schema_sql
from durable.store.migrations import latest_version

_MOST_SHOWN = 8192


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: done; 1: it did not hold, or could not be done; 2: wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.verb(options))
    except (DurableError, psycopg.Error) as error:
        # Not the details that Postgres adds: they repeat the row, payloads included.
        text = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        print(f"durable: {printable(text or str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="durable", description="Durable execution for Python on Postgres.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dsn", help="the database; else $DURABLE_DATABASE_URL, else the embedded server")
    common.add_argument("--schema", default="durable", help="the schema of our tables (default: %(default)s)")

    demo = verbs.add_parser("demo", parents=[common], help="insurance claims, two workers, one of them killed")
    demo.add_argument("--runs", type=int, default=1000, help="how many claims, at most 10,000 (default: %(default)s)")
    demo.add_argument("--keep", action="store_true", help="leave the database for a look")
    demo.set_defaults(verb=_demo)

    migrating = verbs.add_parser("migrate", parents=[common], help="create the schema or bring it up to date")
    migrating.add_argument("--shards", type=int, help="raise the number of shard values of each workflow")
    migrating.add_argument("--citus", action="store_true", help="distribute the tables over the Citus cluster")
    migrating.set_defaults(verb=_migrate)

    printing = verbs.add_parser("schema", parents=[common], help="print the SQL of the schema")
    printing.add_argument("--citus", action="store_true", help="and the SQL that distributes it over a Citus cluster")
    printing.add_argument(
        "--roles", action="store_true", help="instead, the SQL of roles that may no more than they need"
    )
    printing.set_defaults(verb=_schema)

    working = verbs.add_parser("worker", parents=[common], help="run a worker until it is told to stop")
    working.add_argument("workflows", metavar="module:attribute", nargs="+", help="a workflow, or a list of them")
    working.set_defaults(verb=_worker)
    return parser


def printable(text: str) -> str:
    """At most 8 KiB of it, what would steer a terminal written out: the text may be anybody's."""
    shown = "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text.strip())
    return shorten(shown, _MOST_SHOWN)


def _demo(options: argparse.Namespace) -> int:
    try:
        from durable.cli.demo import run_demo
    except ModuleNotFoundError as error:
        raise DurableError(f"the demo needs {error.name}: run `pip install 'durable-flows[cli]'`") from None

    with database(options.dsn) as dsn:
        status = run_demo(dsn, schema=options.schema, runs=options.runs, keep=options.keep)
        if options.keep and named(options.dsn) is None and sys.stdin.isatty():
            with suppress(EOFError):
                input("The embedded server ends with this command: press Enter when you have looked. ")
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


def _worker(options: argparse.Namespace) -> int:
    import asyncio

    from durable.worker import Worker

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    sys.path.insert(0, os.getcwd())
    workflows = [workflow for name in options.workflows for workflow in _load(name)]
    with database(options.dsn) as dsn:
        asyncio.run(Worker(dsn, workflows, schema=options.schema).run())
    return 0


def _load(name: str) -> list[Workflow[object, object]]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgument("module:attribute", name, f"it cannot be loaded: {error}") from None
    workflows: list[Any] = list(cast(list[Any], found)) if isinstance(found, list | tuple) else [found]
    if not workflows or not all(isinstance(workflow, Workflow) for workflow in workflows):
        raise InvalidArgument("module:attribute", name, "a function decorated with @workflow, or a list of them")
    return workflows
