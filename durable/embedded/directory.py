"""The directory that holds everything that belongs to one server: where it is, who may access it, and what is in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path

import msgspec

from durable.embedded import supervisor
from durable.embedded.errors import EmbeddedPostgresError
from durable.embedded.privileges import is_trusted, serves_root

_ROOTS_OWN = Path("/var/lib/durable/postgres")


def default_directory() -> Path:
    """Returns ``$DURABLE_EMBEDDED_DIR``, else ``durable/postgres`` in ``$XDG_DATA_HOME`` or the user's data directory.

    For root it is ``/var/lib/durable/postgres`` if a server that root starts could not work in root's home, as in most
    containers, where the home is closed and user namespaces are forbidden.
    """
    if chosen := os.environ.get("DURABLE_EMBEDDED_DIR"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_DATA_HOME"):
        return Path(chosen) / "durable" / "postgres"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "durable" / "postgres"
    directory = Path.home() / ".local" / "share" / "durable" / "postgres"
    if os.geteuid() == 0 and not (directory / "data").exists() and not serves_root(Path.home()):
        return _ROOTS_OWN
    return directory


def prepare(directory: Path) -> None:
    """Creates the directory, accessible to its owner only. Raises ``EmbeddedPostgresError`` for a directory in which
    others may have put something: we would run it, and trust what its server says. Also raises it for a directory that
    contains something else, because it is given to the server's account and closed to everyone else."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = directory.stat()
    if not is_trusted(status.st_uid):
        raise EmbeddedPostgresError(
            f"{directory} belongs to another user (user id {status.st_uid}), but this process runs as {os.geteuid()}; "
            "run as that user, or choose another directory (DURABLE_EMBEDDED_DIR)"
        )
    if not (directory / "lease").exists():
        foreign = sorted(name for name in os.listdir(directory) if not name.startswith(".") and name != "lost+found")
        if foreign and not (directory / "lease").exists():
            raise EmbeddedPostgresError(
                f"{directory} is not the directory of an embedded server: it contains {', '.join(foreign[:5])}. "
                "Choose an empty or a new directory"
            )
    _close(directory, status)


def _close(directory: Path, status: os.stat_result) -> None:
    is_writable = bool(status.st_mode & 0o022)
    if is_writable and os.listdir(directory):
        raise _writable(directory)
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        directory.chmod(0o700)
    if is_writable and os.listdir(directory):  # something was put into it meanwhile
        directory.chmod(status.st_mode & 0o7777)  # otherwise the next start would trust what is in it
        raise _writable(directory)


def _writable(directory: Path) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"{directory} is writable for other users, who may have put something into it; remove what is not yours and "
        f"run `chmod go-w {directory}`, or choose another directory (DURABLE_EMBEDDED_DIR)"
    )


def open_private(path: Path) -> int:
    """Opens a file and returns the descriptor, positioned at the file's end. Never follows a link, because the server's
    account may write where root opens files."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Holds the file's exclusive lock during the block; waits for it."""
    lock = open_private(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def locks(descriptor: int, kind: int) -> bool:
    """Takes a lock of that kind, or returns False at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_lease(directory: Path, seconds: float) -> int:
    """Returns a descriptor that holds the shared lease. Waits for a server that is shutting down."""
    lease = open_private(directory / "lease")
    deadline = time.monotonic() + seconds
    while not locks(lease, fcntl.LOCK_SH):
        if time.monotonic() > deadline:
            os.close(lease)
            raise EmbeddedPostgresError(
                f"the server in {directory} has been shutting down for {seconds:g} s; see {directory / 'log'}"
            )
        time.sleep(0.01)
    return lease


def is_supervised(directory: Path) -> bool:
    """Returns whether a supervisor holds the server."""
    lock = open_private(directory / "supervisor.lock")
    try:
        # Shared, so that two processes that ask do not take each other for the supervisor.
        return not locks(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


class RunningServer(msgspec.Struct, frozen=True):
    """A live server. ``sockets`` is the directory of its socket, empty until the socket is made."""

    process_id: int
    sockets: str


def find_running(data: Path) -> RunningServer | None:
    """Returns the server on that data directory according to its lock file, if it is alive."""
    try:
        lines = (data / "postmaster.pid").read_text().split("\n")
        process_id = int(lines[0])
    except (FileNotFoundError, ValueError):
        return None
    if not supervisor.is_server(process_id, str(data)):
        return None
    return RunningServer(process_id, lines[4] if len(lines) > 5 else "")
