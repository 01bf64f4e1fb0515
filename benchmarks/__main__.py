"""`python -m benchmarks throughput|latency|schedules`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

import psycopg

from benchmarks import latency, schedules, throughput
from durable.embedded import EmbeddedPostgres

_SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=["throughput", "latency", "schedules"])
    parser.add_argument("--dsn", help="a server on which a schema may be created; else an embedded one, fsync on")
    parser.add_argument("--runs", type=int, help="how many runs or schedules a round")
    parser.add_argument("--rounds", type=int, default=3, help="how often (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    if options.dsn:
        return _run(options.dsn, options)
    with tempfile.TemporaryDirectory() as directory, EmbeddedPostgres(Path(directory)) as server:
        return _run(server.conninfo, options)


def _run(dsn: str, options: argparse.Namespace) -> int:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(_SETTINGS)]
        )
        settings = dict(rows.fetchall())
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), **settings}
    print(", ".join(f"{name} {value}" for name, value in machine.items()), file=sys.stderr)
    measure = {"throughput": throughput.measure, "latency": latency.measure, "schedules": schedules.measure}[
        options.name
    ]
    figures = asyncio.run(measure(dsn, options.runs, options.rounds))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
