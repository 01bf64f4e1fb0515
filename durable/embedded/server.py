"""The life of the embedded server: started on demand, shared by the user's processes, gone when the last of them ends,
however it ends.

Every process that uses the server holds a shared lock on the file ``lease``; the kernel drops it with the process. A
detached supervisor holds the server and waits for an exclusive lock on the same file: it gets it when nobody is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg.conninfo import make_conninfo

from durable.embedded import supervisor
from durable.embedded.binaries import Binaries, find_binaries
from durable.embedded.errors import EmbeddedPostgresError
from durable.embedded.privileges import Privileges, choose_privileges

_PORT = 5432
_SOCKET_NAME = f".s.PGSQL.{_PORT}"
_SOCKET_PATH_LIMIT = 103  # of macOS; Linux has 107
_START_SECONDS = 60.0
_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_wal_size": "2GB",
}
_FAST_AND_LOOSE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """A context manager, sync and async; ``conninfo`` connects as superuser through a private unix socket.

    ``directory`` holds everything (default: one per user, see ``default_directory``); several processes that name the
    same one share one server. ``fsync=False`` is for tests: a crash of the machine may then lose or spoil the data.
    ``binaries`` is a directory with ``initdb`` and ``postgres``; by default they are searched for. Raises
    ``EmbeddedPostgresError`` if none are found, none fit the data, or the server does not start.
    """

    def __init__(self, directory: Path | None = None, *, fsync: bool = True, binaries: Path | None = None) -> None:
        self.directory = (default_directory() if directory is None else Path(directory)).absolute()
        self._fsync = fsync
        self._wanted_binaries = binaries
        self._lease: int | None = None
        self.version = ""
        self.conninfo = ""

    def start(self) -> Self:
        """Starts the server, or joins the one that runs. Returns when it accepts connections."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._lease is None:
            lease = os.open(self.directory / "lease", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lease, fcntl.LOCK_SH)  # waits for a server that is shutting down
            self._lease = lease
        try:
            with _locked(self.directory / "start.lock"):
                self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Gives up the server; it shuts down when its last user does."""
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    # starting, under the lock

    def _start(self) -> None:
        data = self.directory / "data"
        major = (data / "PG_VERSION").read_text().strip() if data.exists() else None
        binaries = find_binaries(self._wanted_binaries, major)
        privileges = choose_privileges(self.directory, binaries)
        binaries = privileges.binaries
        sockets = self._socket_directory(privileges)
        self.version = binaries.version
        self.conninfo = make_conninfo(host=str(sockets), port=_PORT, dbname="postgres", user="postgres")
        if major is None:
            self._initialise(binaries, privileges)
        if not self._is_supervised():
            self._supervise(binaries, privileges, sockets)
        self._await_readiness()

    def _socket_directory(self, privileges: Privileges) -> Path:
        if len(os.fsencode(self.directory / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT:
            return self.directory
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        sockets = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"durable-{os.getuid()}-{digest}"
        sockets.mkdir(mode=0o700, exist_ok=True)
        if sockets.is_symlink() or sockets.stat().st_uid not in (os.getuid(), privileges.owner):
            raise EmbeddedPostgresError(f"{sockets} belongs to somebody else; remove it, or choose a shorter directory")
        privileges.give(sockets)
        return sockets

    def _initialise(self, binaries: Binaries, privileges: Privileges) -> None:
        fresh = self.directory / "data.new"
        privileges.remove_tree(fresh)
        fresh.mkdir(mode=0o700)
        privileges.give(fresh)
        locale = ["--locale=C"]
        if binaries.major >= 17:
            locale = ["--locale-provider=builtin", "--locale=C.UTF-8"]
        command = [str(binaries.initdb), "-D", str(fresh), "-U", "postgres", "-A", "trust", "-E", "UTF8", *locale]
        done = subprocess.run(
            privileges.wrap(command), capture_output=True, text=True, check=False, **privileges.popen_options
        )
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"initdb failed:\n{done.stdout}{done.stderr}")
        fresh.rename(self.directory / "data")

    def _is_supervised(self) -> bool:
        lock = os.open(self.directory / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _supervise(self, binaries: Binaries, privileges: Privileges, sockets: Path) -> None:
        adopted = self._orphan()
        if adopted is None:
            self._disarm_stale_pid()
        settings = {**_SETTINGS, **({} if self._fsync else _FAST_AND_LOOSE)}
        command = [str(binaries.postgres), "-D", str(self.directory / "data"), "-k", str(sockets)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        job = {
            "directory": str(self.directory),
            "command": privileges.wrap(command),
            "options": privileges.popen_options,
            "adopted": adopted,
        }
        with (self.directory / "log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-I", supervisor.__file__, json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                check=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_supervised():
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"the supervisor did not start:\n{self._log_tail()}")
            time.sleep(0.01)

    def _orphan(self) -> int | None:
        """The process id of our server if it runs without a supervisor."""
        try:
            with psycopg.connect(self.conninfo, connect_timeout=2) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.Error:
            return None
        if row is None or Path(row[0]).resolve() != (self.directory / "data").resolve():
            raise EmbeddedPostgresError(f"a foreign server answers in {self.directory}; choose another directory")
        return int((self.directory / "data" / "postmaster.pid").read_text().split("\n")[0])

    def _disarm_stale_pid(self) -> None:
        """Postgres refuses to start while the process id in its lock file lives, whoever that is by now. The id is
        replaced and the rest kept: it is how Postgres finds left-over backends of the old server."""
        lock = self.directory / "data" / "postmaster.pid"
        try:
            first, rest = lock.read_text().split("\n", 1)
        except (FileNotFoundError, ValueError):
            return
        if not _is_server(int(first), self.directory / "data"):
            ended = subprocess.Popen([sys.executable, "-I", "-c", ""])
            ended.wait()
            lock.write_text(f"{ended.pid}\n{rest}")

    def _await_readiness(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.conninfo, connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if not self._is_supervised() or time.monotonic() > deadline:
                    raise EmbeddedPostgresError(
                        f"Postgres {self.version} did not start in {self.directory}: {error}\n{self._log_tail()}"
                    ) from None
            time.sleep(0.02)

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join((self.directory / "log").read_text(errors="replace").splitlines()[-15:])
        return "(no log)"


def default_directory() -> Path:
    """``$DURABLE_EMBEDDED_DIR``, else ``durable/postgres`` in the user's data directory."""
    if chosen := os.environ.get("DURABLE_EMBEDDED_DIR"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "durable" / "postgres"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "durable" / "postgres"


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _is_server(process_id: int, data: Path) -> bool:
    """Whether that process is a Postgres on that data directory."""
    shown = subprocess.run(
        ["ps", "-o", "command=", "-p", str(process_id)], capture_output=True, text=True, check=False
    ).stdout
    return "postgres" in shown and str(data) in shown
