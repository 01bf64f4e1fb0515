"""Several worker processes, kept running by the process that started them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Generic, Self, TypeVar

import psycopg

from durable.cli.refusals import say_refused
from durable.core.errors import DurableError

OrderT = TypeVar("OrderT")

_logger = logging.getLogger("durable.cli")

_REFUSED = 1
_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before a process that died is replaced, by how many in a row have died young; the last one then remains."""
_YOUNG_SECONDS = 60.0


def supervise(work: Callable[[OrderT], None], order: OrderT, count: int) -> None:
    """Keeps ``count`` processes running ``work(order)`` until SIGTERM or SIGINT arrives, which then stops them too.
    Returns when all of them have ended.

    A process that dies is replaced, with a longer pause each time processes keep dying young. If one cannot do its work
    at all (because the schema is missing, say), the others could not either: then all stop, and ``DurableError`` is
    raised.
    """
    with _Supervisor(work, order) as supervisor:
        supervisor.keep(count)


class _Supervisor(Generic[OrderT]):
    def __init__(self, work: Callable[[OrderT], None], order: OrderT) -> None:
        self._work = work
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
        process = self._context.Process(target=_work_for_parent, args=(self._work, self._order))
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


def _work_for_parent(work: Callable[[OrderT], None], order: OrderT) -> None:
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
