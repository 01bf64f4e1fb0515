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
"""Seconds before a process that died is replaced, by how many in a row have died young; the last one then remains."""
_YOUNG_SECONDS = 60.0
_YOUNG_OBJECTS = 20_000
"""How many new objects the garbage collector examines at once: about as many as a batch of runs makes, and most of
those runs have ended by then."""


class Order(msgspec.Struct, frozen=True):
    """What each process does. ``workflows`` are given as ``module:attribute``."""

    dsn: str
    schema: str
    workflows: tuple[str, ...]


def work(order: Order) -> None:
    """Runs a worker in this process until it is stopped, on uvloop if that is installed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    worker = Worker(order.dsn, load(order.workflows), schema=order.schema)
    # What is loaded now stays loaded, and nothing that a run leaves behind is a cycle.
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(worker.run())


def load(names: Sequence[str]) -> list[Workflow[object, object]]:
    """Returns the workflows with those names. Raises ``InvalidArgument``."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return [workflow for name in names for workflow in _load(name)]


def _load(name: str) -> list[Workflow[object, object]]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgument("module:attribute", name, f"something that can be imported ({error})") from None
    workflows: list[Any] = list(cast(list[Any], found)) if isinstance(found, list | tuple) else [found]
    if not workflows or not all(isinstance(workflow, Workflow) for workflow in workflows):
        raise InvalidArgument("module:attribute", name, "one @workflow function, or a list of them")
    return workflows


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    return cast(Callable[[], asyncio.AbstractEventLoop], importlib.import_module("uvloop").new_event_loop)


def supervise(order: Order, count: int) -> None:
    """Keeps ``count`` processes running until SIGTERM or SIGINT arrives, which then stops them too. Returns when all of
    them have ended.

    A process that dies is replaced, with a longer pause each time processes keep dying young. If one cannot do its work
    at all (because the schema is missing, say), the others could not either: then all stop, and ``DurableError`` is
    raised.
    """
    load(order.workflows)  # so that a bad name is refused here, and only once
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
            raise DurableError("the worker processes stopped because of the error above")

    def _start(self) -> None:
        process = self._context.Process(target=_work_for_parent, args=(self._order,))
        process.start()
        self._processes[process.sentinel] = process
        self._born[process.sentinel] = time.monotonic()
        if self._is_stopping:  # a stop was requested meanwhile
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
        message = "worker process %s died (exit code %s); starting another in %g s"
        _logger.error(message, process.pid, process.exitcode, pause)
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
    """Stops this process gracefully when its parent has ended, for whatever reason."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
