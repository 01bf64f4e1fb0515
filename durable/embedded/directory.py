"""The directory that holds everything of one server: where it is, who may look into it, what lies in it."""

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
from durable.embedded.privileges import serves_root

_ROOTS_OWN = Path("/var/lib/durable/postgres")


def default_directory() -> Path:
    """``$DURABLE_EMBEDDED_DIR``, else ``durable/postgres`` in ``$XDG_DATA_HOME`` or the user's data directory.

    For root it is ``/var/lib/durable/postgres`` where no server of root's could work in root's home: as in most
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
    """Makes the directory, for its owner only. One that holds something else is refused: as root we would give it away,
    and it is closed to everybody else."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (directory / "lease").exists():
        foreign = sorted(name for name in os.listdir(directory) if not name.startswith(".") and name != "lost+found")
        if foreign and not (directory / "lease").exists():
            raise EmbeddedPostgresError(
                f"{directory} is not a directory of an embedded server: it holds {', '.join(foreign[:5])}. "
                "Choose an empty or a new directory"
            )
    status = directory.stat()
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        directory.chmod(0o700)


def open_private(path: Path) -> int:
    """A descriptor, at the file's end. Never through a link: the server's account may write where root opens files."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Holds the file's exclusive lock; waits for it."""
    lock = open_private(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def locks(descriptor: int, kind: int) -> bool:
    """Takes that lock, or returns False at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_lease(directory: Path, seconds: float) -> int:
    """A descriptor that holds the shared lease. A server that is shutting down is waited for."""
    lease = open_private(directory / "lease")
    deadline = time.monotonic() + seconds
    while not locks(lease, fcntl.LOCK_SH):
        if time.monotonic() > deadline:
            os.close(lease)
            raise EmbeddedPostgresError(
                f"the server in {directory} has been shutting down for {seconds:g} s; {directory / 'log'} says more"
            )
        time.sleep(0.01)
    return lease


def is_supervised(directory: Path) -> bool:
    """Whether a supervisor holds the server."""
    lock = open_private(directory / "supervisor.lock")
    try:
        return not locks(lock, fcntl.LOCK_SH)  # shared, so that two who ask do not take each other for the supervisor
    finally:
        os.close(lock)


class RunningServer(msgspec.Struct, frozen=True):
    """A live server. ``sockets``: the directory of its socket, empty until that is made."""

    process_id: int
    sockets: str


def find_running(data: Path) -> RunningServer | None:
    """The server on that data directory, as its lock file tells, if it lives."""
    try:
        lines = (data / "postmaster.pid").read_text().split("\n")
        process_id = int(lines[0])
    except (FileNotFoundError, ValueError):
        return None
    if not supervisor.is_server(process_id, str(data)):
        return None
    return RunningServer(process_id, lines[4] if len(lines) > 5 else "")
