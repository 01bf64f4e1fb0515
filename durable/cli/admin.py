"""`durable migrate`, `durable schema` and `durable prune`: what is done as the owner of the schema."""

from __future__ import annotations

import re

import click

from durable.admin import migrate, prune, roles_sql, schema_sql
from durable.cli.options import Target, on_database
from durable.core.errors import InvalidArgument
from durable.embedded import database
from durable.store.migrations import latest_version

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command("migrate")
@click.option("--shards", type=int, help="Raise the number of shard values of each workflow.")
@click.option(
    "--citus", is_flag=True, help="Distribute the tables over a Citus cluster, on which no worker can work yet."
)
@on_database
def migrate_schema(target: Target, shards: int | None, citus: bool) -> None:  # noqa: FBT001 - by click, by name
    """Create the schema or bring it up to date, and say what was applied."""
    with database(target.dsn) as dsn:
        applied = migrate(dsn, schema=target.schema, shard_count=shards, citus=citus)
    done = f"applied {', '.join(map(str, applied))}" if applied else "nothing to do"
    click.echo(f"schema {target.schema!r} has version {latest_version()}: {done}")


@click.command("schema")
@click.option("--citus", is_flag=True, help="Add the SQL that distributes it over a Citus cluster (see migrate).")
@click.option("--roles", is_flag=True, help="Print the SQL for least-privilege roles instead.")
@click.option("--role-prefix", metavar="NAME", help="What the names of the roles begin with: the schema if not given.")
@on_database
def print_schema(target: Target, citus: bool, roles: bool, role_prefix: str | None) -> None:  # noqa: FBT001
    """Print the SQL of the schema, or of its roles. No database is asked."""
    text = roles_sql(target.schema, prefix=role_prefix) if roles else schema_sql(target.schema, citus=citus)
    click.echo(text)


@click.command("prune")
@click.option("--older-than", required=True, metavar="AGE", help="How long ago they ended: 30d, 12h, 90m or 45s.")
@click.option("--workflow", metavar="NAME", help="Only the runs of this workflow.")
@on_database
def prune_runs(target: Target, older_than: str, workflow: str | None) -> None:
    """Delete runs that ended long ago, with everything that belongs to them."""
    age = _AGE.fullmatch(older_than)
    if age is None:
        raise InvalidArgument("--older-than", older_than, "a number with a unit, such as 30d, 12h, 90m or 45s")
    with database(target.dsn) as dsn:
        deleted = prune(dsn, older_than=float(age[1]) * _UNIT_SECONDS[age[2]], workflow=workflow, schema=target.schema)
    click.echo(f"deleted {deleted:,} {'run' if deleted == 1 else 'runs'} that ended more than {older_than} ago")
