"""The detached process that holds the server: a script, started by its path, that imports nothing of ours.

It ends the server when it gets the exclusive lock on ``lease``: then nobody is left who uses it.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time


def _main() -> None:
    job = json.loads(sys.argv[1])
    if os.fork() != 0:
        os._exit(0)  # nobody's child: whoever started it may end, and need not wait for it
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(
            getattr(signal, name), signal.SIG_IGN
        )  # whoever ends the terminal's group must not end the server
    held = os.open(os.path.join(job["directory"], "supervisor.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    if job["adopted"] is None:
        server = subprocess.Popen(job["command"], stdin=subprocess.DEVNULL, start_new_session=True, **job["options"])
        process_id = server.pid
        threading.Thread(target=_end_when_unused, args=(job["directory"], process_id), daemon=True).start()
        server.wait()
    else:
        process_id = job["adopted"]
        threading.Thread(target=_end_when_unused, args=(job["directory"], process_id), daemon=True).start()
        while _lives(process_id):
            time.sleep(0.05)


def _end_when_unused(directory: str, process_id: int) -> None:
    lease = os.open(os.path.join(directory, "lease"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lease, fcntl.LOCK_EX)  # kept until this process ends: who comes meanwhile waits for a clean start
    os.kill(process_id, signal.SIGINT)


def _lives(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    _main()
