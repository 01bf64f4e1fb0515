"""A worker process. Preloaded by the fork server, so that a new one starts in milliseconds; run as a module with its
options as JSON it is one by itself, for faults that need an environment of their own."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
from contextlib import ExitStack
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from durable import Worker, Workflow
from tests.faults import failpoints
from tests.faults.doubt import Doubt, doubting
from tests.faults.effects import journal
from tests.faults.failpoints import Failpoint, evidence
from tests.faults.server import die_with_parent


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``conninfo`` may lead through a proxy or a pooler; ``direct`` leads straight to the server, for the journal.
    ``workflows`` is ``module:name`` of a list. ``pool_size``: of a pool that the worker is given instead of a
    conninfo. ``concurrency``: of every workflow. ``codec`` is ``module:name``. ``trial_seconds``: how long a suspect is
    on trial; ``None``: as long as anywhere. The others are those of ``Worker``."""

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
    max_threads: int = 64
    codec: str | None = None
    trial_seconds: float | None = None
    failpoint: Failpoint | None = None
    doubt: Doubt | None = None
    pool_size: int | None = None
    concurrency: int | None = None


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
    if options.trial_seconds is not None:
        failpoints.set_everywhere("TRIAL_SECONDS", options.trial_seconds)
    with ExitStack() as faults:
        if options.doubt is not None:
            faults.enter_context(doubting(options.doubt, lambda name: evidence(options.direct, f"lost {name}")))
        asyncio.run(_worker(options).run())


def _worker(options: WorkerOptions) -> Worker:
    workflows: list[Workflow[Any, Any]] = _named(options.workflows)
    if options.concurrency is not None:
        for each in workflows:
            each.concurrency = options.concurrency
    conninfo = make_conninfo(options.conninfo, application_name=f"worker-{os.getpid()}")
    return Worker(
        conninfo if options.pool_size is None else _pool(conninfo, options.pool_size),
        workflows,
        lease=options.lease,
        poll_interval=options.poll_interval,
        max_poll_interval=options.max_poll_interval,
        notify=options.notify,
        graceful_shutdown_timeout=options.graceful_shutdown_timeout,
        max_strikes=options.max_strikes,
        max_resident=options.max_resident,
        max_threads=options.max_threads,
        codec=_named(options.codec) if options.codec else None,
    )


def _named(what: str) -> Any:
    module, _, name = what.partition(":")
    return getattr(importlib.import_module(module), name)


def _pool(conninfo: str, size: int) -> AsyncConnectionPool[AsyncConnection[Any]]:
    return AsyncConnectionPool(conninfo, min_size=1, max_size=size, open=False)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=WorkerOptions))
