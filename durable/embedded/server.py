"""The life of the embedded server: started on demand, shared by the user's processes, and gone when the last of them
ends, however it ends.

Every process that uses the server holds a shared lock on the file ``lease``, which the kernel drops when the process
ends. A detached supervisor holds the server and waits for an exclusive lock on the same file, which it gets when no
user is left. If the supervisor is killed, the server keeps running for the processes that use it, and the next process
that starts or stops gives it a new supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg

from durable.embedded import supervisor
from durable.embedded.binaries import Binaries, find_binaries
from durable.embedded.directory import (
    default_directory,
    find_running,
    is_supervised,
    locked,
    locks,
    open_private,
    prepare,
    take_lease,
)
from durable.embedded.errors import EmbeddedPostgresError
from durable.embedded.privileges import Privileges, choose_privileges

_PORT = 5432
_SOCKET_NAME = f".s.PGSQL.{_PORT}"
_SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_LOG_LIMIT = 16 * 2**20  # bytes, checked when a server starts
_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_wal_size": "2GB",
}
_FAST_AND_LOOSE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """A sync and async context manager; ``conninfo`` connects as superuser through a private Unix socket.

    ``directory`` holds everything (default: one per user, see ``default_directory``); several processes that name the
    same one share one server. ``fsync=False`` is for tests: a crash of the machine may then lose or corrupt the data.
    ``binaries`` is a directory with ``initdb`` and ``postgres``; by default they are searched for.

    While started, ``conninfo`` and ``version`` (such as ``"18.6"``) describe the running server. A child process made
    by ``fork`` shares its parent's use of the server, which lasts until both have ended.
    """

    def __init__(self, directory: Path | None = None, *, fsync: bool = True, binaries: Path | None = None) -> None:
        self.directory = (default_directory() if directory is None else Path(directory)).absolute()
        self._data = self.directory / "data"
        self._fsync = fsync
        self._wanted_binaries = None if binaries is None else Path(binaries).absolute()
        self._lease: int | None = None
        self._log_start = 0
        self.version = ""
        self.conninfo = ""

    def start(self) -> Self:
        """Starts the server, or joins the running one. Returns when it accepts connections.

        Raises ``EmbeddedPostgresError`` if no Postgres is found, none fits the data, the directory cannot be used, the
        server does not start within 60 seconds, or the running one is less durable than requested.
        """
        lease, self._lease = self._lease, None
        try:
            prepare(self.directory)
            if lease is None:
                lease = take_lease(self.directory, _START_SECONDS)
            with locked(self.directory / "start.lock"):
                self._start()
        except BaseException as error:
            if lease is not None:
                os.close(lease)
            if isinstance(error, OSError):
                raise EmbeddedPostgresError(
                    f"{self.directory} cannot be used for a server: {error}; make it writable for this user, or choose "
                    "another directory (DURABLE_EMBEDDED_DIR)"
                ) from error
            raise
        self._lease = lease
        return self

    def stop(self) -> None:
        """Releases the server, which shuts down when its last user releases it. The last user waits for that, for at
        most 30 seconds."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            with contextlib.suppress(OSError):  # the directory is gone, and the server with it
                self._give_up(lease)
        finally:
            os.close(lease)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        starting = asyncio.ensure_future(asyncio.to_thread(self.start))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])  # a thread cannot be cancelled, and we must release what it has started
            await asyncio.to_thread(self.stop)
            raise

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    # starting, under the lock

    def _start(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        launched = False
        trouble = "it ended"
        while time.monotonic() < deadline:
            if not is_supervised(self.directory):
                if launched:
                    break
                launched = not self._adopt() and self._launch()
            running = find_running(self._data)
            if running is not None and running.sockets:
                try:
                    self._connect(running.sockets)
                    return
                except psycopg.OperationalError as error:
                    trouble = str(error)
            time.sleep(0.01)
        raise EmbeddedPostgresError(f"Postgres did not start in {self.directory}: {trouble}\n{self._log_tail()}")

    def _connect(self, sockets: str) -> None:
        # A URL, because other libraries read no other form; the port is said, or $PGPORT would decide.
        self.conninfo = f"postgresql://postgres@/postgres?host={quote(sockets, safe='')}&port={_PORT}"
        with psycopg.connect(self.conninfo, connect_timeout=5) as connection:
            row = connection.execute("SHOW fsync").fetchone()
            version = connection.info.parameter_status("server_version") or ""
        self.version = version.split()[0]
        if self._fsync and row != ("on",):
            raise EmbeddedPostgresError(
                f"the server in {self.directory} runs with fsync=False for another process, but here fsync=True was "
                "requested; end the other process, or choose another directory"
            )

    def _adopt(self) -> bool:
        """Gives a server that has lost its supervisor a new one."""
        running = find_running(self._data)
        if running is None:
            return False
        sockets = running.sockets if running.sockets != str(self.directory) else ""
        self._supervise({"adopted": running.process_id, "sockets": sockets or None})
        return True

    def _launch(self) -> bool:
        major = self._major()
        privileges = choose_privileges(self.directory, find_binaries(self._wanted_binaries, major))
        sockets = self._socket_directory(privileges)
        if major is None:
            self._initialise(privileges)
        (sockets / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)  # its process id may be reused by now
        quoted = str(sockets).replace('"', '""')  # the option is a list
        settings = {"unix_socket_directories": f'"{quoted}"', **_SETTINGS, **({} if self._fsync else _FAST_AND_LOOSE)}
        command = [str(privileges.binaries.postgres), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._supervise(
            {
                "adopted": None,
                "command": privileges.wrap(command),
                "options": privileges.popen_options,
                "sockets": None if sockets == self.directory else str(sockets),
            }
        )
        return True

    def _major(self) -> str | None:
        if not self._data.exists():
            return None
        try:
            return (self._data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise EmbeddedPostgresError(
                f"{self._data} is not a Postgres data directory: it has no PG_VERSION. Move it away to start fresh"
            ) from None

    def _socket_directory(self, privileges: Privileges) -> Path:
        # In a connection string a comma separates hosts.
        if len(os.fsencode(self.directory / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT and "," not in str(self.directory):
            return self.directory
        name = f"durable-{os.getuid()}-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]}"
        for place in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108  # owner checked
            sockets = Path(place or "/tmp") / name  # noqa: S108  # owner checked
            if len(os.fsencode(sockets / _SOCKET_NAME)) > _SOCKET_PATH_LIMIT or not sockets.parent.is_dir():
                continue
            sockets.mkdir(mode=0o700, exist_ok=True)
            status = sockets.lstat()
            if sockets.is_symlink() or status.st_uid not in (os.getuid(), privileges.owner) or status.st_mode & 0o077:
                raise EmbeddedPostgresError(f"{sockets} belongs to another user or is open to others; remove it")
            privileges.give(sockets)
            if privileges.reaches(sockets):
                return sockets
            sockets.rmdir()
        raise EmbeddedPostgresError(f"{self.directory} is too long for a socket's path; choose a shorter directory")

    def _initialise(self, privileges: Privileges) -> None:
        fresh = self.directory / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)  # left behind by an interrupted start
        fresh.mkdir(mode=0o700)
        privileges.give(fresh)
        command = [str(privileges.binaries.initdb), "-D", str(fresh), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        done = subprocess.run(
            privileges.wrap([*command, *_locale(privileges.binaries)]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            **privileges.popen_options,
        )
        if done.returncode != 0:
            raise EmbeddedPostgresError(
                f"{privileges.binaries.initdb} failed in {self.directory}:\n{done.stdout}{done.stderr}"
            )
        fresh.rename(self._data)
        opened = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(opened)  # a crash of the machine must not undo the rename after transactions were committed
        finally:
            os.close(opened)

    def _supervise(self, job: dict[str, Any]) -> None:
        places = {
            "lock": str(self.directory / "supervisor.lock"),
            "lease": str(self.directory / "lease"),
            "data": str(self._data),
        }
        with open(open_private(self.directory / "log"), "ab") as log:
            if log.tell() > _LOG_LIMIT:
                log.truncate(0)
            self._log_start = log.seek(0, os.SEEK_END)
            done = subprocess.run(
                [sys.executable, "-I", "-S", supervisor.__file__, json.dumps({**places, **job})],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                check=False,
            )
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"the supervisor of {self.directory} did not start:\n{self._log_tail()}")

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError), (self.directory / "log").open("rb") as log:
            log.seek(self._log_start)
            if lines := log.read().decode(errors="replace").splitlines()[-15:]:
                return "\n".join([f"{self.directory / 'log'} ends with:", *lines])
        return f"{self.directory / 'log'} says nothing about it"

    # stopping

    def _give_up(self, lease: int) -> None:
        if not is_supervised(self.directory):
            with locked(self.directory / "start.lock"):
                if not is_supervised(self.directory):
                    self._adopt()  # otherwise nothing would end it
        fcntl.flock(lease, fcntl.LOCK_UN)
        deadline = time.monotonic() + _STOP_SECONDS
        while is_supervised(self.directory) and time.monotonic() < deadline:
            # Others use the server if the lease can be locked as shared but not as exclusive. Shared is tried twice,
            # because the supervisor may come in between.
            if locks(lease, fcntl.LOCK_SH) and not locks(lease, fcntl.LOCK_EX) and locks(lease, fcntl.LOCK_SH):
                return
            fcntl.flock(lease, fcntl.LOCK_UN)
            time.sleep(0.01)


def _locale(binaries: Binaries) -> list[str]:
    return ["--locale-provider=builtin", "--locale=C.UTF-8"] if binaries.major >= 17 else ["--locale=C"]
