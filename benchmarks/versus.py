"""The same work in durable and its peers: runs of 1 and of 10 sequential steps, begun beforehand and worked off by one
worker process, on the same server with the same durability. Each round uses a new database, and the engines take turns.

The time is measured from the first claim to the last end. `benchmarks/peers/` holds the program of each engine; peers
get settings that serve them better than their defaults. The limit is the same row work, done in sets and without an
engine.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from benchmarks.setting import Figure, Setting

_ROOT = Path(__file__).parent.parent
_DATABASE = "durable_benchmark_versus"
_TIMEOUT = 600.0
OURS, LIMIT = "durable", "the limit in SQL"
PEERS = {OURS: "durable_peer", "DBOS": "dbos_peer", "Absurd": "absurd_peer", LIMIT: "sql_limit"}
_RUNS = {
    1: {OURS: 20_000, "DBOS": 1_000, "Absurd": 3_000, LIMIT: 40_000},
    10: {OURS: 4_000, "DBOS": 200, "Absurd": 600, LIMIT: 8_000},
}


async def measure(setting: Setting) -> list[Figure]:
    figures: list[Figure] = []
    for count, sizes in _RUNS.items():
        rates: dict[str, list[float]] = {name: [] for name in PEERS}
        for _ in range(setting.rounds):
            for name, module in PEERS.items():
                runs = setting.size(sizes[name], 20)
                rates[name].append(runs / await asyncio.to_thread(_seconds, setting.dsn, module, runs, count))
        work = f"{count}-step runs"
        figures += [Figure(f"{work}: {name}", "runs/s", found) for name, found in rates.items()]
        for name in PEERS:
            if name != OURS:
                ratios = [ours / theirs for ours, theirs in zip(rates[OURS], rates[name], strict=True)]
                target = 50.0 if (name, count) == ("DBOS", 1) else None
                figures.append(Figure(f"{work}: {OURS} ÷ {name}", "times", ratios, target))
    return figures


def _seconds(dsn: str, module: str, runs: int, count: int) -> float:
    with _empty_database(dsn) as url:
        command = [sys.executable, "-m", f"benchmarks.peers.{module}", url, str(runs), str(count)]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        done = subprocess.run(
            command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    if done.returncode != 0:
        raise RuntimeError(f"{module} failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


@contextmanager
def _empty_database(dsn: str) -> Iterator[str]:
    """Creates an empty database and yields its URL, in a form that every engine can read."""
    name = Identifier(_DATABASE)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(SQL("CREATE DATABASE {}").format(name))
        connection.execute("CHECKPOINT")
        try:
            parts = conninfo_to_dict(dsn)
            host, user = parts.get("host", "localhost"), parts.get("user", "postgres")
            yield f"postgresql://{user}@/{_DATABASE}?host={host}&port={parts.get('port', 5432)}"
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(name))
