"""`durable worker`: one worker, or several processes with one each."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, Self, cast

import msgspec
import psycopg

from durable.cli.refusals import say_refused
from durable.core.errors import DurableError, InvalidArgument
from durable.core.replay.workflow import Workflow
from durable.worker.worker import Worker

_logger = logging.getLogger("durable.cli")

_REFUSED = 1
_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the next process takes the place of one that died young; the last for ever after."""
_YOUNG_SECONDS = 60.0
_YOUNG_OBJECTS = 20_000
"""The garbage collector looks at so many at once: about those of a batch of runs, most of which have ended by then."""


class Order(msgspec.Struct, frozen=True):
    """What each process does. ``workflows`` as ``module:attribute``."""

    dsn: str
    schema: str
    workflows: tuple[str, ...]


def work(order: Order) -> None:
    """Runs a worker in this process until it is told to stop, on uvloop where that is installed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    worker = Worker(order.dsn, load(order.workflows), schema=order.schema)
    # What is loaded stays; and of what a run leaves behind nothing is a cycle.
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(worker.run())


def load(names: Sequence[str]) -> list[Workflow[object, object]]:
    """The workflows of those names. Raises ``InvalidArgument``."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return [workflow for name in names for workflow in _load(name)]


def _load(name: str) -> list[Workflow[object, object]]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgument("module:attribute", name, f"an attribute that can be loaded ({error})") from None
    workflows: list[Any] = list(cast(list[Any], found)) if isinstance(found, list | tuple) else [found]
    if not workflows or not all(isinstance(workflow, Workflow) for workflow in workflows):
        raise InvalidArgument("module:attribute", name, "a function decorated with @workflow, or a list of them")
    return workflows


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    return cast(Callable[[], asyncio.AbstractEventLoop], importlib.import_module("uvloop").new_event_loop)


def supervise(order: Order, count: int) -> None:
    """Keeps ``count`` processes at work until SIGTERM or SIGINT, which they are sent on; returns when all have ended.

    One that dies is replaced, ever later the younger they die. What a process is refused for (a missing schema, say)
    would befall the others, too: then all stop. Raises ``DurableError``.
    """
    load(order.workflows)  # refused here, and once
    with _Supervisor(order) as supervisor:
        supervisor.keep(count)


class _Supervisor:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[int, BaseProcess] = {}
        self._born: dict[int, float] = {}
        self._deaths = 0
        self._is_stopping = False
        self._is_refused = False

    def __enter__(self) -> Self:
        self._former = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        for process in self._processes.values():
            process.join()
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def keep(self, count: int) -> None:
        for _ in range(count):
            self._start()
        while self._processes:
            wait([process.sentinel for process in self._processes.values()])
            for process in [process for process in self._processes.values() if not process.is_alive()]:
                self._bury(process)
        if self._is_refused:
            raise DurableError("the worker processes were refused: see above")

    def _start(self) -> None:
        process = self._context.Process(target=_work_for_parent, args=(self._order,))
        process.start()
        self._processes[process.sentinel] = process
        self._born[process.sentinel] = time.monotonic()
        if self._is_stopping:  # told so meanwhile
            process.terminate()

    def _bury(self, process: BaseProcess) -> None:
        del self._processes[process.sentinel]
        is_young = time.monotonic() - self._born.pop(process.sentinel) < _YOUNG_SECONDS
        self._is_refused |= process.exitcode == _REFUSED
        if self._is_refused:
            self._stop()
        if self._is_stopping:
            return
        self._deaths = self._deaths + 1 if is_young else 0
        pause = _PAUSES[min(self._deaths, len(_PAUSES) - 1)]
        _logger.error("worker process %s died (%s), another in %g s", process.pid, process.exitcode, pause)
        deadline = time.monotonic() + pause
        while not self._is_stopping and time.monotonic() < deadline:
            time.sleep(0.05)
        if not self._is_stopping:
            self._start()

    def _stop(self, number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        self._is_stopping = True
        for process in self._processes.values():
            process.terminate()


def _work_for_parent(order: Order) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), name="durable-parent", daemon=True).start()
    try:
        work(order)
    except (DurableError, psycopg.Error) as error:
        sys.exit(say_refused(error))


def _end_with(parent: BaseProcess) -> None:
    """However that ended, gracefully."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
