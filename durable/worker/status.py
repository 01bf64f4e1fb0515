"""What a worker says of itself."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["created", "starting", "running", "stopping", "stopped"]


class WorkerStatus(msgspec.Struct, frozen=True):
    """What a worker is doing right now.

    ``worker_id`` is ``None`` until the worker starts. ``active_runs`` is the number of runs being executed,
    ``resident_runs`` that of parked runs kept in memory. ``is_listening`` is False while the worker has no connection
    over which it is notified of work; ``is_lease_held`` is False if its last heartbeat is older than its lease.

    ``busy_threads`` is the number of threads in which sync steps are being executed. ``hung_threads`` are those of them
    whose step was cancelled or has timed out: nothing can stop their functions. If there are ``max_threads`` of these,
    no sync step can start, and ``steps_awaiting_thread`` grows; only a new process helps then.

    ``paused_workflows`` are those of its workflows whose runs it does not claim, because they are paused.
    """

    worker_id: str | None
    state: State
    active_runs: int
    resident_runs: int
    is_listening: bool
    is_lease_held: bool
    busy_threads: int
    hung_threads: int
    steps_awaiting_thread: int
    paused_workflows: tuple[str, ...] = ()
