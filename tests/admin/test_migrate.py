"""The schema: made, raised, compared."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from durable import Client
from durable.admin import migrate, prune, roles_sql, schema_sql
from durable.core.errors import InvalidArgument
from durable.store.migrations import migrations
from tests.client.colours import rows

VERSIONS = [migration.version for migration in migrations()]

CATALOG = {
    "tables": "SELECT relname, relkind, reloptions, relpersistence FROM pg_class WHERE relnamespace = %s::regnamespace",
    "columns": "SELECT attrelid::regclass::text, attnum, attname, format_type(atttypid, atttypmod), attnotnull,"
    " attstorage, attidentity,"
    " (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum)"
    " FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
    " WHERE relnamespace = %s::regnamespace AND attnum > 0 AND NOT attisdropped",
    # Checks that a migration adds need not hold for the rows of before.
    "constraints": "SELECT conrelid::regclass::text, conname, replace(pg_get_constraintdef(oid), ' NOT VALID', '')"
    " FROM pg_constraint"
    " WHERE connamespace = %s::regnamespace",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = %s",
    "functions": "SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = %s::regnamespace",
    "triggers": "SELECT tgname, pg_get_triggerdef(pg_trigger.oid) FROM pg_trigger"
    " JOIN pg_class ON pg_class.oid = tgrelid WHERE relnamespace = %s::regnamespace",
}


def catalog(conninfo: str, schema: str) -> dict[str, list[Any]]:
    dumped = {
        name: sorted(rows(conninfo, query, f'"{schema}"' if "regnamespace" in query else schema), key=repr)
        for name, query in CATALOG.items()
    }
    dumped["settings"] = rows(conninfo, f'SELECT * FROM "{schema}".settings')
    return dumped


def settings(conninfo: str, schema: str = "durable") -> tuple[int, int]:
    found: tuple[int, int] = rows(conninfo, f'SELECT schema_version, shard_count FROM "{schema}".settings')[0]
    return found


def test_migrations_are_numbered_without_gaps() -> None:
    assert list(range(1, len(VERSIONS) + 1)) == VERSIONS
    for migration in migrations():
        assert re.match(r"-- Why: .+\n(-- .+\n)*?-- Locks: .+\n", migration.sql), migration.name


def test_migrating_twice_changes_nothing_the_second_time(bare_database: str) -> None:
    assert migrate(bare_database) == VERSIONS
    before = catalog(bare_database, "durable")

    assert migrate(bare_database) == []
    assert catalog(bare_database, "durable") == before
    assert settings(bare_database) == (VERSIONS[-1], 1)


@pytest.mark.parametrize("schema", ["durable", "Mixed_Case", "user", "_1"])
def test_the_migrations_give_the_current_schema(bare_database: str, schema: str) -> None:
    rows(bare_database, schema_sql(schema))
    by_schema = catalog(bare_database, schema)
    assert migrate(bare_database, schema=schema) == []
    rows(bare_database, f'DROP SCHEMA "{schema}" CASCADE')

    migrate(bare_database, schema=schema)

    assert catalog(bare_database, schema) == by_schema
    assert schema == "durable" or rows(bare_database, "SELECT to_regnamespace('durable')") == [(None,)]


def test_every_table_and_column_is_explained(bare_database: str) -> None:
    rows(bare_database, schema_sql())

    silent = rows(
        bare_database,
        "SELECT attrelid::regclass::text, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace = 'durable'::regnamespace AND relkind = 'r' AND attnum > 0"
        " AND col_description(attrelid, attnum) IS NULL"
        " UNION ALL SELECT relname, NULL FROM pg_class WHERE relnamespace = 'durable'::regnamespace"
        " AND relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL",
    )
    assert silent == []


def test_five_at_once_apply_each_migration_once(bare_database: str) -> None:
    with ThreadPoolExecutor(5) as threads:
        applied = list(threads.map(lambda _: migrate(bare_database, shard_count=3), range(5)))

    assert sorted(version for versions in applied for version in versions) == VERSIONS
    assert settings(bare_database) == (VERSIONS[-1], 3)


class Schema(str, Enum):  # noqa: UP042 - its members are formatted by their names
    OURS = "ours"


def test_a_schema_that_an_enum_names_goes_by_its_value(bare_database: str) -> None:
    assert migrate(bare_database, schema=Schema.OURS) == VERSIONS
    assert prune(bare_database, older_than=1, schema=Schema.OURS) == 0
    with Client(bare_database, schema=Schema.OURS) as client:
        assert client.list_runs() == []
    assert schema_sql(Schema.OURS) == schema_sql("ours")
    assert roles_sql(Schema.OURS) == roles_sql("ours")
    assert settings(bare_database, "ours") == (VERSIONS[-1], 1)


def test_schemas_live_side_by_side(bare_database: str) -> None:
    assert migrate(bare_database, schema="a") == VERSIONS
    assert migrate(bare_database, schema="A", shard_count=2) == VERSIONS
    assert (settings(bare_database, "a")[1], settings(bare_database, "A")[1]) == (1, 2)


def test_the_shard_count_can_be_raised_and_never_lowered(bare_database: str) -> None:
    migrate(bare_database, shard_count=4)
    migrate(bare_database)
    assert settings(bare_database)[1] == 4
    migrate(bare_database, shard_count=8)
    migrate(bare_database, shard_count=8)
    assert settings(bare_database)[1] == 8

    with pytest.raises(InvalidArgument, match="shard_count must be at least 8, .*, got 7"):
        migrate(bare_database, shard_count=7)
    assert settings(bare_database)[1] == 8


@pytest.mark.parametrize("shard_count", [0, -1, 4097, 2.0, True, "4"])
def test_an_impossible_shard_count_is_refused_before_anything_is_made(bare_database: str, shard_count: Any) -> None:
    with pytest.raises(InvalidArgument):
        migrate(bare_database, shard_count=shard_count)
    assert rows(bare_database, "SELECT to_regnamespace('durable')") == [(None,)]


@pytest.mark.parametrize(
    "schema",
    [
        "",
        " ",
        "a b",
        "a-b",
        "a.b",
        'a"b',
        "a'b",
        "a;b",
        'durable"; DROP SCHEMA public CASCADE; --',
        "durable; DROP SCHEMA public CASCADE; --",
        "durable/*",
        "durable--",
        "$$",
        "a\\b",
        "a\0b",
        "a\nb",
        "durable\n",
        "{}",
        "%s",
        "pg_catalog",
        "pg_toast",
        "1a",
        "a" * 64,
        "schéma",
        "\uff44urable",
    ],
)
def test_a_schema_name_that_is_no_name_is_refused(bare_database: str, schema: str) -> None:
    with pytest.raises(InvalidArgument):
        migrate(bare_database, schema=schema)
    with pytest.raises(InvalidArgument):
        schema_sql(schema)
    assert rows(bare_database, "SELECT to_regnamespace('public') IS NOT NULL") == [(True,)]


def test_a_migration_that_fails_leaves_the_version_before_it(
    bare_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from durable.store.migrations import Migration

    bad = Migration(VERSIONS[-1] + 1, "9999_bad.sql", "CREATE TABLE durable.half (); SELECT 1 / 0;")
    monkeypatch.setattr("durable.admin.migration.migrations", lambda: (*migrations(), bad))
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(bare_database)

    assert settings(bare_database)[0] == VERSIONS[-1]
    assert rows(bare_database, "SELECT to_regclass('durable.half')") == [(None,)]


def test_a_migration_that_waits_for_a_table_lets_others_pass(
    bare_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from durable.store.migrations import Migration

    migrate(bare_database)
    later = Migration(VERSIONS[-1] + 1, "9999_later.sql", "ALTER TABLE durable.runs ADD COLUMN later text;")
    monkeypatch.setattr("durable.admin.migration.migrations", lambda: (*migrations(), later))
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(bare_database) as reading:
            reading.execute("SELECT FROM durable.runs")  # which holds the table until its transaction ends
            applied = pool.submit(migrate, bare_database)
            while not rows(bare_database, waiting):
                assert not applied.done()
            with psycopg.connect(bare_database, autocommit=True) as passing:
                passing.execute("SET statement_timeout = '5s'")
                passing.execute("SELECT FROM durable.runs")
        assert applied.result(timeout=20) == [later.version]
    assert settings(bare_database)[0] == later.version


def test_a_role_without_rights_beyond_its_schema_can_migrate(bare_database: str) -> None:
    role = "durable_test_plain"
    rows(bare_database, f"CREATE ROLE {role} LOGIN")
    try:
        rows(bare_database, f"CREATE SCHEMA durable AUTHORIZATION {role}")
        as_role = make_conninfo(bare_database, options=f"-c role={role}")

        assert migrate(as_role) == VERSIONS
    finally:
        with psycopg.connect(bare_database, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP OWNED BY {0} CASCADE").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_a_newer_database_is_left_alone(bare_database: str) -> None:
    migrate(bare_database)
    rows(bare_database, "UPDATE durable.settings SET schema_version = 99")

    assert migrate(bare_database) == []
    assert settings(bare_database)[0] == 99


TABLES = ["chapters", "events", "runs", "schedules", "settings", "steps", "waits", "workers"]


def test_83_the_schema_is_printed_under_any_name_and_needs_no_migration(bare_database: str) -> None:
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute(schema_sql("Elsewhere").encode())
        assert migrate(bare_database, schema="Elsewhere") == []
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'Elsewhere' ORDER BY 1")
        assert set(TABLES) <= {name for (name,) in found.fetchall()}
