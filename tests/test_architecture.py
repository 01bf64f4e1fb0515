"""The walls of the house."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_origin

import msgspec
import psycopg
import pytest
from psycopg import postgres
from psycopg.pq import ExecStatus

import durable
import durable.store
from durable import AsyncClient, AsyncHandle, Client, Handle
from durable.store.statement import QUERIES, NoRow, Query

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "durable" / "store" / "queries"
MOST_LINES = 400

for _module in pkgutil.walk_packages(durable.store.__path__, "durable.store."):
    importlib.import_module(_module.name)  # which declares its queries


def signatures(of: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member) for name, member in inspect.getmembers(of, callable) if not name.startswith("_")
    }


def without_colour(found: dict[str, inspect.Signature]) -> dict[str, inspect.Signature]:
    """The transaction, too, has the client's colour."""
    return {
        name: signature.replace(
            parameters=[
                parameter.replace(annotation=None) if parameter.name == "tx" else parameter
                for parameter in signature.parameters.values()
            ],
            return_annotation=None,
        )
        for name, signature in found.items()
    }


@pytest.mark.parametrize(("sync", "other"), [(Client, AsyncClient), (Handle, AsyncHandle)])
def test_both_colours_have_the_same_methods_with_the_same_signatures(sync: type, other: type) -> None:
    assert without_colour(signatures(sync)) == without_colour(signatures(other))


# queries


def test_every_file_of_sql_is_declared_once_and_named_once() -> None:
    assert sorted(QUERIES) == sorted(files_in(FOLDER))
    # The table of states names statements too, and asks none.
    asking = [path for path in (ROOT / "durable").rglob("*.py") if path != ROOT / "durable" / "core" / "runs.py"]
    modules = "".join(path.read_text() for path in asking)
    assert {name: modules.count(f'"{name}"') for name in QUERIES} == dict.fromkeys(QUERIES, 1)


def files_in(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.sql")}


def test_a_query_cannot_be_declared_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Query("schedules/read_clock", NoRow)


def misread(connection: psycopg.Connection[Any], queries: Iterable[Query[Any]]) -> list[str]:
    """The queries whose rows are not what their statements return, column by column."""
    found: list[str] = []
    for query in queries:
        prepared = connection.pgconn.prepare(b"", numbered(query.text("durable")).encode())
        assert prepared.status == ExecStatus.COMMAND_OK, f"{query.name}: {prepared.error_message.decode()}"
        described = connection.pgconn.describe_prepared(b"")
        columns = tuple((described.fname(number) or b"").decode() for number in range(described.nfields))
        if columns != query.row.__struct_fields__:
            found.append(f"{query.name} returns {columns}, its row has {query.row.__struct_fields__}")
        types = {described.ftype(number) for number in range(described.nfields)}
        found += [f"{query.name} returns a {name}" for name, oid in SHAPED_BY_SETTINGS.items() if oid in types]
    return found


SHAPED_BY_SETTINGS = {
    name: postgres.types[name].oid
    for name in (
        "timestamptz",
        "timestamp",
        "date",
        "time",
        "timetz",
        "interval",
        "float4",
        "float8",
        "bytea",
        "money",
        "regclass",
    )
}
"""Types whose text depends on a setting of the session."""


def numbered(text: str) -> str:
    """The SQL with the server's own marks in place of psycopg's."""
    marks: dict[str, str] = {}
    text = re.sub(r"%\((\w+)\)s", lambda match: marks.setdefault(match[1], f"${len(marks) + 1}"), text)
    return text.replace("%%", "%")


def test_every_query_prepares_on_a_fresh_schema_and_returns_the_columns_of_its_row(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        assert misread(connection, QUERIES.values()) == []


class _Planted(Query[Any]):
    """Of a file that is there, but with another row; not declared."""

    def __init__(self, name: str, row: type[Any]) -> None:
        self.name, self.row, self._texts = name, row, {}


class _Swapped(msgspec.Struct):
    shard_count: int
    schema_version: int


class _TooFew(msgspec.Struct):
    schema_version: int


@pytest.mark.parametrize("row", [_Swapped, _TooFew, NoRow])
def test_a_row_that_is_not_what_its_statement_returns_is_found(row: type[Any], database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        (found,) = misread(connection, [_Planted("settings/read_settings", row)])
        assert "returns ('schema_version', 'shard_count')" in found
        (found,) = misread(connection, [_Planted("workers/remove_worker", row)]) or [""]
        assert (found == "") == (row is NoRow)


# clocks


_OTHER_CLOCKS = re.compile(
    r"\b((clock|statement|transaction)_timestamp|current_(time|date|timestamp)|localtime|localtimestamp|timeofday)\b"
    r"|'(now|today|tomorrow|yesterday)'\s*::|\b(date|time|timestamp|timestamptz)\s+'(now|today|tomorrow|yesterday)'"
)


def foreign_clocks(name: str, text: str) -> list[str]:
    """The lines of SQL that tell the time otherwise than by ``now()``, before which a test kit may put its own.

    Liveness alone goes by the real clock: ``pg_catalog.now()`` stands in the statement of heartbeats, which knows no
    other, and where the schema gives their column its default.
    """
    found: list[str] = []
    for line in text.splitlines():
        code = line.partition("--")[0].lower()
        is_real = "pg_catalog.now" in code
        is_ours = re.search(r"(?<![.\w])now\(\)", code) is not None
        is_about_liveness = name == "workers/beat" or "heartbeat_at" in code
        if _OTHER_CLOCKS.search(code) or (is_real and not is_about_liveness) or (is_ours and name == "workers/beat"):
            found.append(f"{name}: {line.strip()}")
    return found


def test_sql_tells_the_time_by_one_clock() -> None:
    files = files_in(FOLDER) | files_in(ROOT / "schema")
    assert {"workers/beat", "schema", "migrations/0001_initial"} < set(files)
    assert [line for name, path in files.items() for line in foreign_clocks(name, path.read_text())] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flush/park_runs", "SET updated_at = clock_timestamp()"),
        ("flush/park_runs", "SET updated_at = Current_Timestamp"),
        ("flush/park_runs", "SET updated_at = pg_catalog.statement_timestamp()"),
        ("flush/park_runs", "WHERE transaction_timestamp() > wake_at"),
        ("flush/park_runs", "WHERE wake_at < LOCALTIMESTAMP(3)"),
        ("flush/park_runs", "WHERE wake_at < 'now'::timestamptz"),
        ("flush/park_runs", "WHERE wake_at < timestamptz 'now'"),
        ("flush/park_runs", "SET updated_at = pg_catalog.now()"),
        ("workers/beat", "SET heartbeat_at = now()"),
        ("schema", "created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),"),
        ("migrations/0001_initial", "created_at timestamptz DEFAULT CURRENT_TIMESTAMP,"),
    ],
)
def test_another_clock_in_sql_is_found(name: str, text: str) -> None:
    assert foreign_clocks(name, f"-- A statement.\n{text}\n") == [f"{name}: {text}"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flush/park_runs", "SET updated_at = now() -- not clock_timestamp()"),
        ("flush/record_steps", "WHERE kind IN ('now', 'random')"),
        ("workers/beat", "SET heartbeat_at = pg_catalog.now()"),
        ("schema", "heartbeat_at timestamptz NOT NULL DEFAULT pg_catalog.now(),"),
    ],
)
def test_the_one_clock_is_no_finding(name: str, text: str) -> None:
    assert foreign_clocks(name, text) == []


# modules


def test_every_module_is_in_a_room() -> None:
    assert {path.name for path in (ROOT / "durable").glob("*.py")} == {"__init__.py", "__main__.py"}


def test_everything_public_is_explained() -> None:
    for name in durable.__all__:
        public = getattr(durable, name)
        assert get_origin(public) is Literal or inspect.getdoc(public), f"durable.{name} has no docstring"
    assert sorted(durable.__all__) == sorted(set(durable.__all__))


def test_no_room_is_too_large() -> None:
    for path in (ROOT / "durable").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= MOST_LINES, path


def test_importing_the_library_imports_no_extra() -> None:
    code = "import durable, sys; print(sorted({'rich', 'pydantic', 'croniter', 'argparse'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout == "[]\n"


def test_no_module_fails_to_import() -> None:
    for path in (ROOT / "durable").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name != "durable.embedded.supervisor":
            importlib.import_module(name)
