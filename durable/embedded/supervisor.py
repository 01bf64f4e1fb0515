"""The detached process that holds the server: a script, started by its path, that imports nothing from this package.

It ends the server when it gets the exclusive lock on ``lease``, because then no process is left that uses it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any


def is_server(process_id: int, data: str) -> bool:
    """Returns whether that process is a Postgres on that data directory: a process id alone may belong to any program
    by now."""
    if sys.platform == "linux":
        try:
            with open(f"/proc/{process_id}/cmdline", "rb") as file:
                program, *arguments = os.fsdecode(file.read()).split("\0")
        except OSError:
            return False
        where = os.path.realpath(data)
        return os.path.basename(program) == "postgres" and any(os.path.realpath(given) == where for given in arguments)
    command = ["/bin/ps", "-ww", "-o", "command=", "-p", str(process_id)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return "postgres" in shown and data in shown


def _main(job: dict[str, Any]) -> None:
    held = os.open(job["lock"], os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)  # before the fork, which keeps it, so it is held when the first process ends
    if os.fork() != 0:
        os._exit(0)  # detached: the process that started it may end, and need not wait for it
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the lease decides
    ended, interrupt = _start(job) if job["adopted"] is None else _adopt(job["adopted"], job["data"])
    threading.Thread(target=_end_when_unused, args=(job["lease"], interrupt), daemon=True).start()
    ended()
    if job["sockets"] is not None:
        with contextlib.suppress(OSError):
            os.rmdir(job["sockets"])


def _start(job: dict[str, Any]) -> tuple[Callable[[], object], Callable[[], object]]:
    _disarm(os.path.join(job["data"], "postmaster.pid"))
    server = subprocess.Popen(job["command"], stdin=subprocess.DEVNULL, start_new_session=True, **job["options"])
    descriptor = _descriptor(server.pid)
    if descriptor is None:
        return server.wait, lambda: server.send_signal(signal.SIGINT)
    return server.wait, lambda: _interrupt(descriptor)


def _adopt(process_id: int, data: str) -> tuple[Callable[[], object], Callable[[], object]]:
    descriptor = _descriptor(process_id)
    if not is_server(process_id, data):
        sys.exit("the server to adopt has just ended")

    def interrupt() -> None:
        if is_server(process_id, data):
            os.kill(process_id, signal.SIGINT)

    def ended() -> None:
        while is_server(process_id, data):
            time.sleep(0.2)

    if descriptor is None:
        return ended, interrupt
    return lambda: select.select([descriptor], [], []), lambda: _interrupt(descriptor)


def _descriptor(process_id: int) -> int | None:
    """Returns a handle that, unlike the process id, can never come to mean another process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.pidfd_open(process_id)
    return None


def _interrupt(descriptor: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGINT)


def _disarm(lock: str) -> None:
    """Puts our process id into a left-over lock file. Postgres refuses to start while the process id in its lock file
    is alive, whatever process that is by now, unless it is the id of its own parent, which is this process. The other
    lines stay, because Postgres uses them to find left-over backends of the old server."""
    with contextlib.suppress(FileNotFoundError):
        with open(os.open(lock, os.O_RDWR | os.O_NOFOLLOW), "r+") as file:
            lines = file.read().split("\n")
            file.seek(0)
            file.write("\n".join([str(os.getpid()), *lines[1:]]))
            file.truncate()


def _end_when_unused(path: str, interrupt: Callable[[], object]) -> None:
    lease = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    fcntl.flock(lease, fcntl.LOCK_EX)  # kept until this process ends: a later user waits for a clean start
    interrupt()


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
