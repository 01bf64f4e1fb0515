"""Functions and operators that somebody has put on the search path, under names that our statements use.

pg_catalog comes first, but an overload that fits the arguments better wins wherever it lies. A database that was once
made by Postgres 14 lets everybody create such things in the schema public.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pglast import parse_sql
from pglast.visitors import Visitor
from psycopg.conninfo import make_conninfo

import durable
from durable import AsyncClient, Context, Worker, workflow
from durable.admin.migration import migrate

QUERIES = sorted(Path(durable.__file__).parent.glob("store/queries/*/*.sql"))
TYPES = (
    *("uuid", "text", "json", "jsonb", "bigint", "integer", "smallint", "float8", "numeric", "boolean"),
    *("timestamptz", "interval", "name", "oid", "text[]", "uuid[]"),
)
AGGREGATES = ("array_agg", "bool_or", "bool_and", "count", "max", "min", "string_agg", "sum", "json_agg", "jsonb_agg")


class _Names(Visitor):
    """What a statement leaves to the search path to find."""

    def __init__(self) -> None:
        super().__init__()
        self.functions = {"array_agg", "json_build_object", "unnest"}  # as it would be, were they not qualified
        self.operators: set[str] = set()

    def visit_FuncCall(self, ancestors: Any, node: Any) -> None:
        if len(node.funcname) == 1:
            self.functions.add(node.funcname[0].sval)

    def visit_A_Expr(self, ancestors: Any, node: Any) -> None:
        if len(node.name) == 1:
            self.operators.add(node.name[0].sval)


def _names() -> _Names:
    names = _Names()
    for path in QUERIES:
        names(parse_sql(re.sub(r"%\(\w+\)s", "NULL", path.read_text())))
    return names


def _trap(name: str, arguments: str, returns: str) -> str:
    return (
        f"CREATE FUNCTION trap.{name}({arguments}) RETURNS {returns} LANGUAGE plpgsql VOLATILE AS "
        f"$$ BEGIN RAISE EXCEPTION 'the trap {name}({arguments}) was called'; END $$;"
    )


def _traps() -> Iterator[str]:
    names = _names()
    assert {"now", "make_interval"} <= names.functions
    assert {"=", "<="} <= names.operators
    yield "CREATE SCHEMA trap;"
    for name in sorted(names.functions):
        if name in AGGREGATES:
            for kind in TYPES:
                yield _trap(f"{name}_step", f"{kind}, {kind}", kind)
                yield f"CREATE AGGREGATE trap.{name}({kind}) (SFUNC = trap.{name}_step, STYPE = {kind});"
            continue
        yield _trap(name, "", "timestamptz")
        for kind in TYPES:
            yield _trap(name, kind, kind.removesuffix("[]"))
            yield _trap(name, f"text, {kind}", "json")
        yield _trap(name, "text, text, text, text", "json")
    for kind in ("float8", "numeric", "integer"):  # it is called with the argument's name
        yield f"DROP FUNCTION trap.make_interval({kind});" + _trap("make_interval", f"secs {kind}", "interval")
    for left, right in product(TYPES, TYPES):
        yield _trap("compare", f"{left}, {right}", "boolean")
        yield _trap("combine", f"{left}, {right}", left)
        for operator in sorted(names.operators):
            procedure = "compare" if set(operator) <= set("<>=!") and operator != "<<" else "combine"
            yield (
                f"CREATE OPERATOR trap.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = trap.{procedure});"
            )


@pytest.fixture(scope="module")
def trapped(server_dsn: str) -> Iterator[str]:
    from tests.conftest import new_database

    with new_database(server_dsn) as conninfo:
        migrate(conninfo)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("".join(_traps()).encode())
        yield make_conninfo(conninfo, options="-c search_path=trap,public")


def found_in_traps(connection: psycopg.Connection[Any], statement: str) -> list[str]:
    """What of the statement is resolved to something in the schema of the traps; parameters as ``%(name)s``."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for index, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${index}")
    connection.execute(f"PREPARE checked AS {statement}".encode())
    ((types,),) = connection.execute("SELECT parameter_types::text[] FROM pg_prepared_statements").fetchall()
    connection.execute("DEALLOCATE checked")
    # The body of such a function is resolved now, and what it depends on is written down.
    body = f"CREATE FUNCTION trap.probe({', '.join(types)}) RETURNS void BEGIN ATOMIC {statement}; END"
    connection.execute(body.encode())
    found = connection.execute(
        "SELECT pg_describe_object(refclassid, refobjid, 0) FROM pg_depend"
        " LEFT JOIN pg_proc ON refclassid = 'pg_proc'::regclass AND pg_proc.oid = refobjid"
        " LEFT JOIN pg_operator ON refclassid = 'pg_operator'::regclass AND pg_operator.oid = refobjid"
        " WHERE classid = 'pg_proc'::regclass AND objid = (SELECT oid FROM pg_proc WHERE proname = 'probe')"
        " AND 'trap'::regnamespace IN (pronamespace, oprnamespace)"
    ).fetchall()
    return [name for (name,) in found]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT array_agg(run_id) FROM durable.runs",
        "SELECT make_interval(secs => 1::numeric)",
        "SELECT json_build_object('a'::text, 'b'::text, 'c'::text, 'd'::text)",
        "SELECT created_at + '2026-01-01' FROM durable.runs",
    ],
)
def test_the_traps_catch(statement: str, trapped: str) -> None:
    with psycopg.connect(trapped) as connection, connection.transaction(force_rollback=True):
        assert found_in_traps(connection, statement)


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_no_statement_finds_a_function_or_operator_outside_the_catalog(path: Path, trapped: str) -> None:
    with psycopg.connect(trapped) as connection, connection.transaction(force_rollback=True):
        statement = path.read_text()
        # A command that is no query names neither, and cannot be prepared.
        assert "SET TRANSACTION" in statement or found_in_traps(connection, statement) == []


@workflow
async def travelling(ctx: Context, number: int) -> int:
    async def double(value: int) -> int:
        return 2 * value

    async def stored(tx: psycopg.AsyncConnection[Any], value: int) -> int:
        await tx.execute("CREATE TEMPORARY TABLE IF NOT EXISTS mine (n integer)")
        return value + 1

    async def failing() -> None:
        raise ValueError("no")

    doubled = await ctx.execute("double", double, number)
    await ctx.sleep("nap", 0.01)
    more = await ctx.transaction("stored", stored, doubled)
    heard = await ctx.wait_for_event("wait", "number", int, timeout=20)
    return more + heard


def test_a_run_goes_its_way_through_the_traps(trapped: str) -> None:
    async def work() -> None:
        async with Worker(trapped, [travelling]), AsyncClient(trapped) as client:
            handle = await client.begin(travelling, 20, key="once", tags={"a": "b"})
            await handle.publish_event("number", 1)
            assert await handle.result(timeout=20) == 42
            await client.begin_many(travelling, [1, 2])
            cancelled = await client.begin(travelling, 1)
            await cancelled.cancel("enough")
            asleep = await client.begin(travelling, 1, delay=1000)
            await client.terminate_run(asleep.run_key, "enough")
            async with asyncio.timeout(20):
                for ended in (cancelled, asleep):
                    while (await ended.info()).status != "cancelled":
                        await asyncio.sleep(0.02)
            await client.retry_run(asleep.run_key)
            await client.schedule(travelling, 1, "often", "@every 50ms")
            async with asyncio.timeout(20):
                while (await client.list_schedules())[0].last_run is None:
                    await asyncio.sleep(0.02)
            await client.delete_schedule("often")
            assert await client.list_runs()

    asyncio.run(work())


def test_migrations_go_their_way_through_the_traps(trapped: str) -> None:
    migrate(trapped, schema="elsewhere", shard_count=2)
