"""Records golden histories from runs on a real server: ``python -m tests.golden step gather``, or ``--missing``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec
import psycopg

from durable import AsyncClient, Worker
from durable.admin.migration import migrate
from durable.embedded.server import EmbeddedPostgres
from tests.conftest import new_database
from tests.golden.features import FEATURES, end
from tests.golden.history import Golden, Row, load, path_of, read_rows, replay
from tests.golden.workflows import golden_leaf


async def record(feature: str, dsn: str) -> Golden:
    """Runs the feature once and reads what is left of it."""
    recorded = FEATURES[feature]
    with psycopg.connect(dsn, autocommit=True) as connection:
        if recorded.before is not None:
            connection.execute(recorded.before.encode())
        workflows = {recorded.workflow.name: recorded.workflow, golden_leaf.name: golden_leaf}
        worker = Worker(dsn, list(workflows.values()), graceful_shutdown_timeout=0.1)
        async with AsyncClient(dsn) as client, asyncio.timeout(30):
            async with worker:
                handle = await client.begin(recorded.workflow, recorded.input)
                await (recorded.until or end)(client, handle, dsn)
                tables = read_rows(connection, handle.run_key)
                history = load(connection, handle.run_key)
                connection.execute("SELECT pg_advisory_unlock_all()")
    tables = {table: [_without_paths(row) for row in rows] for table, rows in tables.items()}
    return Golden(recorded.workflow.name, tables, replay(feature, tables["runs"][0], handle.run_key, history))


def _without_paths(row: Row) -> Row:
    """Tracebacks name the files of whoever records."""
    places = {str(Path(__file__).parents[2]): "/app", sys.prefix: "/python", sys.base_prefix: "/python"}
    for place, name in places.items():
        row = {column: value and value.replace(place, name) for column, value in row.items()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="*", choices=[*FEATURES, []], help="none of which may be recorded already")
    parser.add_argument("--missing", action="store_true", help="all that are not recorded yet")
    chosen = parser.parse_args()
    features = [name for name in FEATURES if chosen.missing and not path_of(name).exists()] + chosen.features
    for feature in features:
        if path_of(feature).exists():
            parser.error(f"{path_of(feature)} exists; what is recorded must stay as it is")
    with tempfile.TemporaryDirectory() as directory, EmbeddedPostgres(Path(directory), fsync=False) as server:
        for feature in features:
            with new_database(server.conninfo) as dsn:
                migrate(dsn)
                golden = asyncio.run(record(feature, dsn))
            with path_of(feature).open("xb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(golden)) + b"\n")
            print(feature, *golden.does, sep="\n    ")


if __name__ == "__main__":
    main()
