"""`durable migrate`, `durable schema` and `durable prune`: what is done as the owner of the schema."""

from __future__ import annotations

import argparse
import re

from durable.admin import migrate, prune, roles_sql, schema_sql
from durable.core.errors import InvalidArgument
from durable.embedded import database
from durable.store.migrations import latest_version

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def run_migrate(options: argparse.Namespace) -> int:
    """Brings the schema up to date and prints what was applied."""
    with database(options.dsn) as dsn:
        applied = migrate(dsn, schema=options.schema, shard_count=options.shards, citus=options.citus)
    done = f"applied {', '.join(map(str, applied))}" if applied else "nothing to do"
    print(f"schema {options.schema!r} has version {latest_version()}: {done}")
    return 0


def print_schema(options: argparse.Namespace) -> int:
    """Prints the SQL of the schema, or of its roles."""
    if options.roles:
        print(roles_sql(options.schema, prefix=options.role_prefix))
    else:
        print(schema_sql(options.schema, citus=options.citus))
    return 0


def run_prune(options: argparse.Namespace) -> int:
    """Deletes old runs and prints how many there were."""
    age = _AGE.fullmatch(options.older_than)
    if age is None:
        raise InvalidArgument("--older-than", options.older_than, "a number with a unit, such as 30d, 12h, 90m or 45s")
    with database(options.dsn) as dsn:
        deleted = prune(
            dsn, older_than=float(age[1]) * _UNIT_SECONDS[age[2]], workflow=options.workflow, schema=options.schema
        )
    print(f"deleted {deleted:,} {'run' if deleted == 1 else 'runs'} that ended more than {options.older_than} ago")
    return 0
