"""What a worker tells, and whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """Runs of one workflow were claimed together: ``started`` for the first time, ``resident`` were still in memory,
    and ``replayed`` are executed again from the top, with ``memos`` answers among them."""

    workflow: str
    started: int
    resident: int
    replayed: int
    memos: int


class StepEnded(msgspec.Struct, frozen=True, gc=False):
    """A step has its answer. ``seconds`` is from the beginning of its first try to the end of its last. Transaction
    steps are not told of."""

    workflow: str
    function: str
    outcome: Literal["ok", "error"]
    seconds: float


class StepRetried(msgspec.Struct, frozen=True, gc=False):
    """A try of a step has failed, and another one follows. ``error`` is the name of the exception's class."""

    workflow: str
    function: str
    error: str


class RunEnded(msgspec.Struct, frozen=True, gc=False):
    """A run has ended on this worker. What a client ends, no worker tells of."""

    workflow: str
    status: str


class Flushed(msgspec.Struct, frozen=True, gc=False):
    """What runs of one workflow did was written together. ``fenced`` records were not, because their runs no longer
    belonged to this worker; ``set_asides`` runs have left because the code does not match them."""

    workflow: str
    seconds: float
    records: int
    fenced: int
    set_asides: int
    steps: Sequence[StepEnded]
    retries: Sequence[StepRetried]
    ended: Sequence[RunEnded]


class TakenOver(msgspec.Struct, frozen=True, gc=False):
    """Runs of a worker that is gone were freed: ``runs`` in all, of which ``suspects`` are tried apart from others and
    ``crash_loops`` have failed."""

    workflow: str
    runs: int
    suspects: int
    crash_loops: int


class Observer:
    """Is told what a worker does; every method does nothing unless it is overridden, so that later releases can tell
    more.

    Methods are called on the worker's event loop, which waits for them: they must return at once. ``taken_over`` is
    called from another thread. What they raise is logged and disturbs nothing.
    """

    def worker_started(self, worker_id: str, workflows: Sequence[str]) -> None:
        """Called when the worker begins to claim runs."""

    def worker_stopped(self, worker_id: str) -> None:
        """Called when the worker has written its last record."""

    def claimed(self, told: Claimed) -> None:
        """Called when runs have been claimed."""

    def flushed(self, told: Flushed) -> None:
        """Called when a flush is acknowledged."""

    def taken_over(self, told: TakenOver) -> None:
        """Called when runs of another worker were freed."""
