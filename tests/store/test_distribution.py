"""Every statement on a distributed table names one shard value at every reference, so that one node answers it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pglast import ast, parse_sql

import durable.store.queries

FOLDER = Path(durable.store.queries.__file__).parent
DISTRIBUTED = {"runs", "steps", "waits", "events", "chapters"}
ACROSS_SHARDS = {
    "inspection/list_runs",
    "generations/find_newest",
    "generations/find_newest_runs",
    "schedules/find_runs",
    "retention/next_shard_value",
}
"""Reads without a lock, for people, before a begin, or of what shard values there are."""
COLUMN = "workflow_name_shard"
UNCHANGING = ("extract", "pg_column_size", "octet_length")


def statements() -> Iterator[str]:
    return (path.relative_to(FOLDER).with_suffix("").as_posix() for path in sorted(FOLDER.rglob("*.sql")))


def parsed(name: str) -> ast.Node:
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    text = re.sub(r"%\((\w+)\)s", number, (FOLDER / f"{name}.sql").read_text().replace("%%", "%"))
    (statement,) = parse_sql(text)
    return statement.stmt


def nodes(node: Any) -> Iterator[ast.Node]:
    """The node and all below it."""
    if isinstance(node, ast.Node):
        yield node
        for field in node:
            yield from nodes(getattr(node, field))
    elif isinstance(node, tuple):
        for member in node:
            yield from nodes(member)


def tables(node: ast.Node) -> Iterator[ast.RangeVar]:
    return (found for found in nodes(node) if isinstance(found, ast.RangeVar) and found.schemaname == "durable")


def pinned(node: ast.Node) -> Iterator[tuple[str | None, int]]:
    """The table alias (None: bare) and the parameter of each `workflow_name_shard = $n`."""
    for found in nodes(node):
        if isinstance(found, ast.A_Expr) and found.name[0].sval == "=" and isinstance(found.rexpr, ast.ParamRef):
            column = [part.sval for part in found.lexpr.fields] if isinstance(found.lexpr, ast.ColumnRef) else []
            if column[-1:] == [COLUMN]:
                yield (column[0] if len(column) == 2 else None), found.rexpr.number


@pytest.mark.parametrize("name", sorted(set(statements()) - ACROSS_SHARDS))
def test_every_reference_names_the_shard_value(name: str) -> None:
    statement = parsed(name)
    inserted = [id(found.relation) for found in nodes(statement) if isinstance(found, ast.InsertStmt)]
    references = [
        table.alias.aliasname if table.alias else None
        for table in tables(statement)
        if table.relname in DISTRIBUTED and id(table) not in inserted
    ]
    values = list(pinned(statement))
    for alias in set(references):
        assert sum(pin[0] == alias for pin in values) >= references.count(alias), f"{name}: {alias or 'bare table'}"
    assert len({number for _, number in values}) <= 1, f"{name} names several shard values"


@pytest.mark.parametrize("name", list(statements()))
def test_every_insert_gives_the_shard_value(name: str) -> None:
    for found in nodes(parsed(name)):
        if isinstance(found, ast.InsertStmt) and found.relation.relname in DISTRIBUTED:
            columns = [column.name for column in found.cols]
            select = found.selectStmt
            rows = select.valuesLists or ([column.val for column in select.targetList],)
            for row in rows:
                given = row[columns.index(COLUMN)]
                from_row = isinstance(given, ast.ColumnRef) and given.fields[-1].sval == COLUMN
                assert from_row or isinstance(given, ast.ParamRef), name


@pytest.mark.parametrize("name", list(statements()))
def test_no_statement_calls_in_its_returning_list_what_may_change(name: str) -> None:
    for found in nodes(parsed(name)):
        clause = getattr(found, "returningList", None) or getattr(found, "returningClause", None)
        for call in nodes(clause):
            if isinstance(call, ast.FuncCall):
                assert call.funcname[-1].sval in UNCHANGING, f"{name} calls {call.funcname[-1].sval}"
