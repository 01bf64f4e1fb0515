"""Tells an observer what records and claims mean."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from durable.core.replay.endings import Settle
from durable.core.replay.tries import Tries
from durable.store.records import ClaimedRun, Comeback, Record, RecordedTry, StepMemo, Written
from durable.store.takeovers import TakenOver as Freed
from durable.telemetry.observer import Claimed, Flushed, Observer, RunEnded, StepEnded, StepRetried, TakenOver

_logger = logging.getLogger("durable.telemetry")

_LINE_SECONDS = 60.0


class Telling:
    """Speaks to one observer, and survives what it raises."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._next_line = 0.0

    def started(self, worker_id: str, workflows: Sequence[str]) -> None:
        self._guarded(self._observer.worker_started, worker_id, workflows)

    def stopped(self, worker_id: str) -> None:
        self._guarded(self._observer.worker_stopped, worker_id)

    def claimed(self, workflow: str, runs: Sequence[tuple[ClaimedRun, Comeback | None]]) -> None:
        """Tells of runs that were claimed together."""
        self._guarded(self._claimed, workflow, runs)

    def flushed(self, shard_value: str, records: Sequence[Record], answers: Sequence[Written], seconds: float) -> None:
        """Tells of records that were written together."""
        self._guarded(self._flushed, workflow_of(shard_value), records, answers, seconds)

    def taken_over(self, shard_value: str, freed: Freed) -> None:
        """Tells of runs that were freed."""
        told = TakenOver(workflow_of(shard_value), freed.count, len(freed.suspects), len(freed.failed))
        self._guarded(self._observer.taken_over, told)

    def _claimed(self, workflow: str, runs: Sequence[tuple[ClaimedRun, Comeback | None]]) -> None:
        histories = [back.history for _, back in runs if back is not None and back.history is not None]
        started = sum(run.epoch == 1 for run, _ in runs)
        resident = sum(back is not None and back.history is None for _, back in runs)
        memos = sum(len(history.memos) for history in histories)
        self._observer.claimed(Claimed(workflow, started, resident, len(histories), memos))

    def _flushed(self, workflow: str, records: Sequence[Record], answers: Sequence[Written], seconds: float) -> None:
        steps: list[StepEnded] = []
        retries: list[StepRetried] = []
        ended: list[RunEnded] = []
        fenced = set_asides = 0
        for record, answer in zip(records, answers, strict=True):
            if not answer.is_ours:
                fenced += 1
                continue
            for entry in record.entries:
                if isinstance(entry, StepMemo):
                    if entry.kind == "execute":
                        outcome: Literal["ok", "error"] = "ok" if entry.error is None else "error"
                        steps.append(StepEnded(workflow, entry.fn, outcome, entry.took))
                elif isinstance(entry, RecordedTry) and (tries := Tries.parse(entry.payload)) and tries.error:
                    retries.append(StepRetried(workflow, entry.fn, tries.error.type))
            if isinstance(record.ending, Settle):
                set_asides += record.ending.is_set_aside
                if record.ending.is_terminal:
                    ended.append(RunEnded(workflow, record.ending.status))
        self._observer.flushed(Flushed(workflow, seconds, len(records), fenced, set_asides, steps, retries, ended))

    def _guarded(self, tell: Callable[..., None], *arguments: Any) -> None:
        try:
            tell(*arguments)
        except Exception:
            now = time.monotonic()
            if now >= self._next_line:
                self._next_line = now + _LINE_SECONDS
                _logger.exception("the observer of the worker raised an error; the worker continues without a count")


def workflow_of(shard_value: str) -> str:
    """Returns the name of the workflow to which a shard value belongs."""
    return shard_value.rpartition("_")[0]
