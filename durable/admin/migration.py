"""Brings a database to the schema that this version needs."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

import psycopg
from psycopg import Connection, sql

from durable.admin.owner import act_as_owner, connect
from durable.admin.readers import wait_for_readers
from durable.core.errors import InvalidArgument, SchemaError
from durable.postgres.conninfo import check_conninfo
from durable.postgres.encoding import check_encoding
from durable.postgres.pooling import refuse_statement_pooling
from durable.store.migrations import Migration, citus_schema, current_schema, migrations, roles_script
from durable.store.queries import check_schema_name, in_schema

_logger = logging.getLogger("durable.admin")

_MAX_SHARDS = 4096
_MAX_NAME = 63
_BETWEEN_SECONDS = 0.5
_CREATED_MEANWHILE = (
    psycopg.errors.DuplicateSchema,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
)
# Where our own scripts name the schema itself and its roles. Whatever replaces these names is checked and quoted.
_SCHEMA = re.compile(r"\bSCHEMA (IF NOT EXISTS )?durable\b")
_ROLE = re.compile(r"\bdurable_(owner|worker|client|viewer)\b")


def migrate(
    conninfo: str, *, schema: str = "durable", shard_count: int | None = None, citus: bool = False
) -> list[int]:
    """Applies the missing migrations and returns their versions, an empty list if the schema is up to date or newer.

    Creates the schema if it is missing. This needs neither a superuser nor an extension, only the right to create the
    schema. Each migration commits on its own, so a failed call can be repeated; concurrent calls wait for each other.
    Workers and clients may keep running: a table in use is waited for in turns of half a second, however long that
    takes.

    ``shard_count`` (1 to 4096; ``None`` leaves it as it is, initially 1) can be raised later but never lowered, because
    runs are found by it. Raising it waits twice for the transactions that have begun runs, or taken part otherwise, to
    end; if it is interrupted, call it again with the same count. Clients of an earlier release must be gone by then: a
    key that one of them uses in that moment may get two runs. Workers learn of a new count within seconds, clients only
    when they are created again; until then they begin runs under the former shard values, and those runs are found all
    the same. ``citus`` distributes the tables, once; raise the shard count along with it. No worker can work on a
    cluster yet.

    Raises ``InvalidArgument``, and ``SchemaError`` if the encoding of the database is not UTF8, or if ``citus`` is
    given and the database does not have the extension.
    """
    check_conninfo("conninfo", conninfo)
    schema = check_schema_name(schema)
    if shard_count is not None and (
        isinstance(shard_count, bool) or not isinstance(shard_count, int) or not 1 <= shard_count <= _MAX_SHARDS
    ):
        raise InvalidArgument("shard_count", shard_count, f"a whole number between 1 and {_MAX_SHARDS}")
    applied: list[int] = []
    with connect(conninfo) as connection:
        check_encoding(connection)
        _check_raise_first(connection, schema, shard_count)
        while (migration := _apply_surely(connection, schema)) is not None:
            applied.append(migration.version)
            _logger.info("applied %s to schema %s", migration.name, schema)
        if shard_count is not None:
            _set_shard_count(connection, schema, shard_count)
        if citus:
            _distribute(connection, schema)
    return applied


def schema_sql(schema: str = "durable", *, citus: bool = False) -> str:
    """Returns the whole schema as commented SQL, to be read or to be applied by other means; with ``citus``, followed
    by the SQL that distributes it.

    A database created from it does not need ``migrate``, and later migrations apply to it.
    """
    return _of_schema(current_schema() + ("\n" + citus_schema() if citus else ""), schema)


def roles_sql(schema: str = "durable", *, prefix: str | None = None) -> str:
    """Returns commented SQL that creates the roles ``<prefix>_owner``, ``_worker``, ``_client`` and ``_viewer`` and
    gives each of them no more rights than it needs. The SQL can be run any number of times.

    ``prefix`` is the name of the schema if it is ``None``. Roles belong to the server: if another of its databases has
    a schema of the same name, give the roles of each a prefix of their own.

    Raises ``InvalidArgument``, also if the prefix is too long for the names of its roles.
    """
    schema = check_schema_name(schema)
    argument, prefix = ("schema", schema) if prefix is None else ("prefix", check_schema_name(prefix, "prefix"))
    if len(prefix) > _MAX_NAME - len("_worker"):
        # Postgres would truncate the names, and so make one role out of four.
        raise InvalidArgument(
            argument, prefix, f"at most {_MAX_NAME - len('_worker')} characters long, because a role's name adds 7"
        )
    return _ROLE.sub(rf'"{prefix}_\1"', _of_schema(roles_script(), schema))


def _of_schema(script: str, schema: str) -> str:
    return _SCHEMA.sub(rf'SCHEMA \1"{check_schema_name(schema)}"', in_schema(script, schema))


def _apply_surely(connection: Connection[Any], schema: str) -> Migration | None:
    while True:
        try:
            return _apply_next(connection, schema)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            _logger.warning("the tables of schema %s are in use; retrying the migration: %s", schema, error)
            time.sleep(_BETWEEN_SECONDS)
        except (psycopg.errors.UniqueViolation, *_CREATED_MEANWHILE):
            if _version(connection, schema) == 0:
                raise  # something else has the name of one of our tables
            _logger.info("another process has created schema %s meanwhile", schema)


def _apply_next(connection: Connection[Any], schema: str) -> Migration | None:
    with connection.transaction():
        act_as_owner(connection, schema)
        version = _locked_version(connection, schema)
        missing = [migration for migration in migrations() if migration.version > version]
        if not missing:
            return None
        if version == 0:
            _create_schema(connection, schema)
        migration = missing[0]
        # Waiting for a table's lock holds up everyone who asks for it later, so step back instead and let them pass.
        connection.execute("SET LOCAL lock_timeout = '500ms'")
        connection.execute(in_schema(migration.sql, schema))
        connection.execute(
            sql.SQL("UPDATE {}.settings SET schema_version = %s").format(sql.Identifier(schema)), [migration.version]
        )
        return migration


def _locked_version(connection: Connection[Any], schema: str) -> int:
    """Returns the version that the schema has, and keeps as long as this transaction is open: others that migrate wait
    meanwhile, by a lock that they hold up nobody else with and that nobody else may take. As long as there is nothing
    to lock, it is 0, and those who come second find the schema made."""
    if _version(connection, schema) == 0:
        return 0
    connection.execute(sql.SQL("LOCK TABLE {}.settings IN SHARE UPDATE EXCLUSIVE MODE").format(sql.Identifier(schema)))
    return _version(connection, schema)


def _version(connection: Connection[Any], schema: str) -> int:
    # Not to_regclass: it answers from a cache that may not know yet what others have committed meanwhile.
    tables = "SELECT FROM pg_tables WHERE schemaname = %s AND tablename = 'settings'"
    if connection.execute(tables, [schema]).fetchone() is None:
        return 0
    return _setting(connection, schema, "schema_version")


def _create_schema(connection: Connection[Any], schema: str) -> None:
    # CREATE SCHEMA IF NOT EXISTS requires the right to create even if there is nothing to do.
    if connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone() is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))


def _check_raise_first(connection: Connection[Any], schema: str, shard_count: int | None) -> None:
    try:
        with connection.transaction():
            act_as_owner(connection, schema)
            _check_raise(connection, schema, shard_count)
    except psycopg.Error as error:
        refuse_statement_pooling(error)
        raise


def _check_raise(connection: Connection[Any], schema: str, shard_count: int | None) -> None:
    if shard_count is not None and _version(connection, schema) > 0:
        current = _setting(connection, schema, "shard_count")
        if shard_count < current:
            raise InvalidArgument(
                "shard_count",
                shard_count,
                f"at least {current}, the current count of this database, because runs are found by it",
            )


def _set_shard_count(connection: Connection[Any], schema: str, shard_count: int) -> None:
    """Raises the shard count so that no key ever has two runs. First, begins with a key take turns; once that is so for
    all transactions, the count changes; and once no transaction goes by the former count any longer, they stop taking
    turns. If this is interrupted, begins go on taking turns until the same count is asked for again."""
    begin = sql.SQL("raising_to = greatest(raising_to, %(count)s)"), sql.SQL("shard_count <> %(count)s")
    resume = sql.SQL("raising_to = raising_to"), sql.SQL("raising_to = %(count)s")
    if not any(_update_settings(connection, schema, shard_count, *update) for update in (begin, resume)):
        return
    wait_for_readers(connection, schema)
    all_counts = sql.SQL("ARRAY(SELECT DISTINCT unnest(shard_counts || shard_count || %(count)s::int) ORDER BY 1)")
    changes = sql.SQL("shard_count = %(count)s, shard_counts = {}").format(all_counts)
    _update_settings(connection, schema, shard_count, changes, sql.SQL("raising_to IS NOT NULL"))
    wait_for_readers(connection, schema)
    _update_settings(connection, schema, shard_count, sql.SQL("raising_to = NULL"), resume[1])


def _update_settings(
    connection: Connection[Any], schema: str, shard_count: int, changes: sql.Composable, condition: sql.Composable
) -> bool:
    with connection.transaction():
        act_as_owner(connection, schema)
        _locked_version(connection, schema)
        _check_raise(connection, schema, shard_count)
        table = sql.Identifier(schema, "settings")
        update = sql.SQL("UPDATE {} SET {} WHERE {}").format(table, changes, condition)
        return connection.execute(update, {"count": shard_count}).rowcount > 0


def _distribute(connection: Connection[Any], schema: str) -> None:
    if connection.execute("SELECT FROM pg_extension WHERE extname = 'citus'").fetchone() is None:
        raise SchemaError(
            "this database does not have Citus: create the extension citus in it, on the coordinator, or omit --citus"
        )
    with connection.transaction():
        act_as_owner(connection, schema)
        _locked_version(connection, schema)
        runs = sql.Identifier(schema, "runs").as_string(connection)
        if connection.execute("SELECT FROM pg_dist_partition WHERE logicalrelid = %s::regclass", [runs]).fetchone():
            return
        connection.execute(in_schema(citus_schema(), schema))
        _logger.info("distributed the tables of schema %s", schema)


def _setting(connection: Connection[Any], schema: str, name: str) -> int:
    row = connection.execute(
        sql.SQL("SELECT {} FROM {}.settings").format(sql.Identifier(name), sql.Identifier(schema))
    ).fetchone()
    if row is None:
        raise psycopg.DataError(f'"{schema}".settings is empty; it must hold exactly one row')
    return int(row[0])
