"""`durable demo`: real claims, two workers, a SIGKILL, and the proof from the tables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from durable.admin.migration import migrate
from durable.cli.demo.claims import Claim, handle_claim, read_claims
from durable.cli.demo.proof import Takeover, prove
from durable.client.client import Client
from durable.core.errors import DurableError, InvalidArgument
from durable.postgres.conninfo import without_password

_MAX_RUNS = 10_000
_KILL_AT = 0.35
_LOOK_SECONDS = 0.1
_CLOSE_LOOK_SECONDS = 0.01
_SETTLE_SECONDS = 0.1
"""Time for whatever a stopped worker had already sent: that may still end runs."""
_PATIENCE_SECONDS = 300.0
_STATUSES = ("queued", "running", "sleeping", "waiting_event", "completed", "failed")
_TABLES = """
    CREATE TABLE ledger (kind text NOT NULL, report integer NOT NULL, amount bigint NOT NULL,
                         booked_at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE TABLE calls (step text NOT NULL, report integer NOT NULL, process_id integer NOT NULL,
                        called_at timestamptz NOT NULL DEFAULT clock_timestamp());
"""


def run_demo(dsn: str, *, schema: str, runs: int, keep: bool) -> int:
    """Runs the demo in a database of its own on that server. Returns the exit status: 0, or 1 if the proof fails."""
    if not 1 <= runs <= _MAX_RUNS:
        raise InvalidArgument("--runs", runs, f"between 1 and {_MAX_RUNS}")
    console = Console()
    with _own_database(dsn, keep=keep, console=console) as own:
        migrate(own, schema=schema)
        with psycopg.connect(own, autocommit=True) as look, Client(own, schema=schema) as client:
            look.execute(_TABLES)
            claims = read_claims(runs)
            demo = _Demo(own, schema, look, client, console, [claim.cost for claim in claims])
            takeover = demo.run(claims)
            console.print()
            return 0 if prove(console, look, schema, claims, takeover, demo.seconds) else 1


class _Demo:
    def __init__(
        self,
        dsn: str,
        schema: str,
        look: psycopg.Connection[Any],
        client: Client,
        console: Console,
        costs: list[int],
    ) -> None:
        self._dsn = dsn
        self._schema = schema
        self._look = look
        self._client = client
        self._console = console
        self._total = len(costs)
        self._takeover: Takeover | None = None
        self._notes: list[str] = []
        self._approved = 0
        self.seconds = 0.0

    def run(self, claims: list[Claim]) -> Takeover | None:
        """Begins all runs and watches them end."""
        workers = [self._start_worker(), self._start_worker()]
        try:
            started = time.monotonic()
            self._client.begin_many(handle_claim, claims)
            with Live(console=self._console, refresh_per_second=10) as live:
                while True:
                    counts = self._counts()
                    self.seconds = time.monotonic() - started
                    live.update(self._picture(counts))
                    ended = counts["completed"] + counts["failed"]
                    if ended == self._total:
                        return self._takeover
                    if self._takeover is None and self._booked() >= _KILL_AT:
                        self._kill(workers)
                    if self._takeover is not None:
                        self._takeover.watch(self._look, self._schema)
                    self._approve()
                    if self.seconds > _PATIENCE_SECONDS:
                        raise DurableError(f"{self._total - ended} claims were not settled within {self.seconds:.0f} s")
                    time.sleep(_LOOK_SECONDS if self._takeover and self._takeover.is_over else _CLOSE_LOOK_SECONDS)
        finally:
            _end(workers)

    def _start_worker(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "durable.cli.demo.worker", self._schema]
        return subprocess.Popen(command, env={**os.environ, "DURABLE_DATABASE_URL": self._dsn})

    def _kill(self, workers: list[subprocess.Popen[bytes]]) -> None:
        victim = max(workers, key=lambda worker: self._held_by(worker.pid))
        victim.send_signal(signal.SIGSTOP)
        time.sleep(_SETTLE_SECONDS)
        worker_id = self._worker_id(victim.pid)
        if self._held_by(victim.pid) == 0:
            victim.send_signal(signal.SIGCONT)  # killing it would show nothing, so wait for a better moment
            return
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        self._takeover = Takeover(worker_id, self._look, self._schema)
        successor = self._start_worker()
        workers[workers.index(victim)] = successor
        self._notes.append(
            f"sent [bold red]SIGKILL[/] to worker {victim.pid}, which held {self._takeover.held} running claims; "
            f"started worker {successor.pid}"
        )

    def _approve(self) -> None:
        """Plays the adjuster: looks at the claims that are waiting and approves them."""
        waiting = self._client.list_runs(workflow="claim", status="waiting_event", limit=1000)
        for waiting_run in waiting:
            self._client.publish_event(waiting_run.run_key, "approved", "the adjuster", key="adjuster")
            self._approved += 1

    def _counts(self) -> dict[str, int]:
        rows = self._query("SELECT status, count(*) FROM {}.runs GROUP BY status")
        return {**dict.fromkeys(_STATUSES, 0), **dict(rows)}

    def _booked(self) -> float:
        """Returns the fraction of all bookings that are done, between 0 and 1."""
        return int(self._query("SELECT count(*) FROM ledger")[0][0]) / (2 * self._total)

    def _held_by(self, process_id: int) -> int:
        rows = self._query(
            "SELECT count(*) FROM {}.runs WHERE status = 'running' AND worker_id IN "
            "(SELECT worker_id FROM {}.workers WHERE process_id = %s)",
            process_id,
        )
        return int(rows[0][0])

    def _worker_id(self, process_id: int) -> str:
        return str(self._query("SELECT worker_id FROM {}.workers WHERE process_id = %s", process_id)[0][0])

    def _query(self, text: LiteralString, *params: int) -> list[tuple[Any, ...]]:
        names = [sql.Identifier(self._schema)] * text.count("{}")
        return self._look.execute(sql.SQL(text).format(*names), params).fetchall()

    def _picture(self, counts: dict[str, int]) -> Group:
        bars = Table.grid(padding=(0, 1))
        for status in _STATUSES:
            color = {"completed": "green", "failed": "red", "running": "yellow"}.get(status, "cyan")
            bar = ProgressBar(self._total, counts[status], width=40, complete_style=color, finished_style=color)
            bars.add_row(Text(status, style=color), bar, f"{counts[status]:>6,}")
        rate = counts["completed"] / self.seconds if self.seconds else 0.0
        state = f"{self.seconds:5.1f} s · {rate:,.0f} claims/s · {self._approved} approved by the adjuster"
        return Group(bars, state, *map(Text.from_markup, self._notes))


def _end(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(40)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


@contextmanager
def _own_database(dsn: str, *, keep: bool, console: Console) -> Generator[str]:
    name = f"durable_demo_{int(time.time())}_{os.getpid()}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        own = make_conninfo(dsn, dbname=name)
        try:
            yield own
        finally:
            if keep:
                shown = escape(without_password(own))
                console.print(f"The database is kept: [bold]psql '{shown}'[/]", soft_wrap=True)
            else:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
