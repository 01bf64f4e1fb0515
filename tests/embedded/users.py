"""Processes that use an embedded server, and what can be seen of it from outside."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from durable.embedded.directory import is_supervised

ROOT = Path(__file__).resolve().parents[2]
SHUT_DOWN = "database system is shut down"
RECOVERED = "database system was not properly shut down"

_USER = """
import sys
from pathlib import Path
from durable.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), fsync=False) as server:
    print(server.conninfo, flush=True)
    sys.stdin.read()
"""


class User:
    """A process that uses the server of a directory until it is killed or let go."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _USER, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def conninfo(self) -> str:
        """Waits for the server."""
        assert self.process.stdout is not None
        shown = self.process.stdout.readline().strip()
        assert shown, self.leave()
        return shown

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def leave(self) -> str:
        """Ends the process in order; what it wrote to stderr."""
        return self.process.communicate(timeout=30)[1]


def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def value(conninfo: str, query: str) -> object:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def started_at(conninfo: str) -> object:
    """Differs from one server to the next."""
    return value(conninfo, "SELECT pg_postmaster_start_time()")


def is_gone(directory: Path) -> bool:
    return not (directory / "data" / "postmaster.pid").exists() and not is_supervised(directory)


def log_of(directory: Path) -> str:
    return (directory / "log").read_text()


def server_process(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().split("\n")[0])


def parent_of(process_id: int) -> int:
    shown = subprocess.run(["ps", "-o", "ppid=", "-p", str(process_id)], capture_output=True, text=True, check=True)
    return int(shown.stdout)
