"""A worker of the scenarios in a process of its own: ``python -m tests.worker.run.scenarios DSN``."""

from __future__ import annotations

import asyncio
import logging
import sys

from durable import Worker
from tests.worker.run.scenarios import concurrency, timing  # noqa: F401  # register their scenarios
from tests.worker.run.scenarios.stage import WORKFLOWS

logging.basicConfig(level=logging.CRITICAL)
asyncio.run(Worker(sys.argv[1], WORKFLOWS, poll_interval=0.1, max_poll_interval=0.5).run())
