"""A worker process. Preloaded by the fork server, so that a new one starts in milliseconds; run as a module with its
options as JSON it is one by itself, for faults that need an environment of their own."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
from typing import Any

import msgspec
from psycopg.conninfo import make_conninfo

from durable import Worker, Workflow
from tests.faults import failpoints
from tests.faults.effects import journal
from tests.faults.failpoints import Failpoint
from tests.faults.server import die_with_parent


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``conninfo`` may lead through a proxy or a pooler; ``direct`` leads straight to the server, for the journal.
    ``workflows`` is ``module:name`` of a list. The others are those of ``Worker``."""

    conninfo: str
    direct: str
    log: str
    workflows: str = "tests.faults.workload:WORKFLOWS"
    lease: float = 15.0
    poll_interval: float = 0.25
    max_poll_interval: float = 30.0
    notify: bool = True
    graceful_shutdown_timeout: float = 5.0
    max_strikes: int = 1000
    max_resident: int = 10_000
    failpoint: Failpoint | None = None


def main(options: WorkerOptions) -> None:
    """Runs a worker until it is stopped."""
    die_with_parent(signal.SIGKILL)
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    form = f"%(asctime)s {os.getpid()} %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form, stream=sys.stderr, force=True)
    journal.conninfo = options.direct
    if options.failpoint is not None:
        failpoints.install(options.failpoint, options.direct)
    asyncio.run(_worker(options).run())


def _worker(options: WorkerOptions) -> Worker:
    module, _, name = options.workflows.partition(":")
    workflows: list[Workflow[Any, Any]] = getattr(importlib.import_module(module), name)
    return Worker(
        make_conninfo(options.conninfo, application_name=f"worker-{os.getpid()}"),
        workflows,
        lease=options.lease,
        poll_interval=options.poll_interval,
        max_poll_interval=options.max_poll_interval,
        notify=options.notify,
        graceful_shutdown_timeout=options.graceful_shutdown_timeout,
        max_strikes=options.max_strikes,
        max_resident=options.max_resident,
    )


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=WorkerOptions))
