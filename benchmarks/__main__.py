"""`python -m benchmarks [NAME …]`: runs all benchmarks, or those named.

The figures of a complete run go to docs/benchmarks.json, and from there to docs/benchmarks.md and its plots. Those of
single benchmarks replace their earlier figures only if `--publish` is given.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg

from benchmarks import (
    begin,
    churn,
    fleet,
    growth,
    idle,
    latency,
    memory,
    replay,
    report,
    schedules,
    takeover,
    throughput,
    versus,
)
from benchmarks.setting import Figure, Setting
from durable.embedded import EmbeddedPostgres

BENCHMARKS: Mapping[str, Callable[[Setting], Awaitable[list[Figure]]]] = {
    "versus": versus.measure,
    "throughput": throughput.measure,
    "begin": begin.measure,
    "latency": latency.measure,
    "takeover": takeover.measure,
    "schedules": schedules.measure,
    "idle": idle.measure,
    "fleet": fleet.measure,
    "memory": memory.measure,
    "replay": replay.measure,
    "growth": growth.measure,
    "churn": churn.measure,
}


def main() -> int:
    options = _parser().parse_args()
    names = options.names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        print(f"no such benchmark: {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    with _server(options.dsn) as dsn:
        setting = Setting(dsn, 1 if options.once else options.rounds, options.once, is_own=options.dsn is None)
        machine = report.describe_machine(dsn)
        print(", ".join(f"{name} {value}" for name, value in machine.items()), file=sys.stderr)
        for name in names:
            started = time.perf_counter()
            figures = asyncio.run(BENCHMARKS[name](setting))
            if options.once:
                figures = [msgspec.structs.replace(figure, target=None) for figure in figures]
            print(f"\n{name}, {time.perf_counter() - started:.0f} s")
            for figure in figures:
                print(f"  {report.line(figure)}", flush=True)
            if options.publish or not (options.names or options.once):
                report.publish(name, figures, machine)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"one of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--dsn", help="a server on which databases may be created (default: an embedded one, fsync on)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="run one small round of each, to see that they work")
    parser.add_argument("--publish", action="store_true", help="also write the figures if only some benchmarks run")
    return parser


@contextmanager
def _server(dsn: str | None) -> Iterator[str]:
    if dsn is not None:
        yield dsn
        return
    with tempfile.TemporaryDirectory(prefix="durable-benchmark-") as directory:
        with (
            EmbeddedPostgres(Path(directory)) as server,
            psycopg.connect(server.conninfo, autocommit=True) as connection,
        ):
            connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        with EmbeddedPostgres(Path(directory)) as server:
            yield server.conninfo


if __name__ == "__main__":
    raise SystemExit(main())
