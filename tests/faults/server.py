"""A Postgres cluster of the harness's own, with fsync on, that can be crashed."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from durable.admin.migration import migrate
from durable.embedded.binaries import find_binaries
from durable.embedded.privileges import choose_privileges

_TEMPLATE = "harness"
_SHARDS = 2
_PATIENCE_SECONDS = 60.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "fsync": "on",
    "track_commit_timestamp": "on",
    "log_line_prefix": "%m [%p] %a ",
}


class Server:
    """A context manager. ``place``: the directory in which the cluster's own is made, such as a small tmpfs.
    ``settings``: server settings beside and before the harness's."""

    def __init__(self, place: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._place = place
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = Path()
        self.port = 0
        self.version = ""

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="durable-faults-", dir=self._place))
        try:
            self._privileges = choose_privileges(self.directory, find_binaries(None, None))
            self.version = self._privileges.binaries.version
            self.port = _free_port()
            self._initialise()
            self._launch()
            asyncio.run(self._answers())
            self._make_template()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_PATIENCE_SECONDS)
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    # databases

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.directory / "log"

    def conninfo(self, database: str = "postgres") -> str:
        """Through the private socket."""
        return make_conninfo(host=str(self.directory), port=self.port, dbname=database, user="postgres")

    def tcp_conninfo(self, database: str = "postgres") -> str:
        """Over loopback: what a proxy or a pooler can stand before."""
        return make_conninfo(
            host="127.0.0.1", port=self.port, dbname=database, user="postgres", sslmode="disable", gssencmode="disable"
        )

    def create_database(self, name: str) -> str:
        """A migrated database with the harness's tables. Returns its conninfo."""
        with psycopg.connect(self.conninfo(), autocommit=True) as admin:
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
            admin.execute(create.format(sql.Identifier(name), sql.Identifier(_TEMPLATE)))
        return self.conninfo(name)

    def drop_database(self, name: str) -> None:
        """Whoever is still connected is thrown out."""
        with psycopg.connect(self.conninfo(), autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    # faults

    @property
    def process_id(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_stopped(self) -> bool:
        """Whether the postmaster has ended by itself."""
        return self._process is None or self._process.poll() is not None

    async def restart_immediate(self) -> float:
        """Crashes the server and starts it again. Returns when it accepts connections, with the moment of that, in
        seconds since the epoch."""
        await self.stop(signal.SIGQUIT)
        return await self.start()

    async def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends the server: SIGQUIT at once, SIGINT cleanly."""
        assert self._process is not None
        self._process.send_signal(how)
        await asyncio.to_thread(self._process.wait)

    async def start(self) -> float:
        """Starts the server that was stopped; returns as ``restart_immediate``."""
        self._launch()
        await self._answers()
        return time.time()

    async def _answers(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                await (await psycopg.AsyncConnection.connect(self.conninfo())).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process is None or self._process.poll() is not None:
                    raise RuntimeError(f"Postgres does not start:\n{self.log.read_text()[-4000:]}") from None
                await asyncio.sleep(0.01)

    # the processes

    def _initialise(self) -> None:
        data = self.directory / "data"
        data.mkdir(mode=0o700)
        self._privileges.give(data)
        command = [str(self._privileges.binaries.initdb), "-D", str(data), "-U", "postgres", "-A", "trust"]
        command += ["-E", "UTF8", "--locale=C"]
        options: dict[str, Any] = self._privileges.popen_options
        done = subprocess.run(self._privileges.wrap(command), capture_output=True, text=True, check=False, **options)
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _launch(self) -> None:
        settings = {**self._settings, "port": str(self.port), "unix_socket_directories": str(self.directory)}
        command = [str(self._privileges.binaries.postgres), "-D", str(self.directory / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        options: dict[str, Any] = self._privileges.popen_options
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._privileges.wrap(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,
                **options,
            )

    def _make_template(self) -> None:
        with psycopg.connect(self.conninfo(), autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        migrate(self.conninfo(_TEMPLATE), shard_count=_SHARDS)
        with psycopg.connect(self.conninfo(_TEMPLATE)) as connection:
            connection.execute((Path(__file__).parent / "tables.sql").read_bytes())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_LIBRARY = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Should the harness be killed, the server shuts down: nobody else would end it."""
    die_with_parent(signal.SIGQUIT)


def die_with_parent(how: signal.Signals) -> None:
    """The kernel sends this process that signal when its parent ends, where the kernel can (Linux)."""
    if _LIBRARY is not None:
        _LIBRARY.prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)
        if os.getppid() == 1:
            os.kill(os.getpid(), how)
