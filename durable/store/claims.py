"""Claims of runs, and what a claimed run needs to resume: its history, its open waits and its inbox."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import msgspec

from durable.core.failures import read_error
from durable.core.replay.history import Failure, History, Kind, Memo, OpenWait, Outcome, TimedOut, Value
from durable.core.replay.tries import Tries
from durable.core.runs import RunKey
from durable.core.suspicion import Isolation
from durable.store.columns import column
from durable.store.events import load_events
from durable.store.records import ClaimedRun, Comeback, Event, Wake
from durable.store.statement import NoRow, Query, Statement, nothing, one

WaitType: TypeAlias = Literal["sleep", "timer", "event", "request", "child_result", "retry", "start"]
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class NextWake(msgspec.Struct, frozen=True, gc=False):
    """When the next run of a shard value wakes: in how many seconds (negative: overdue), and as a text by which workers
    recognize the same moment; ``None`` if none sleeps. And in which ways those suspects are to be tried that are due
    already."""

    wake_in: float | None
    moment: str | None
    suspects: list[Isolation]


class _StepRow(msgspec.Struct, frozen=True, gc=False):
    run_id: str
    step_key: str
    kind: Kind
    name: str
    seq: int | None
    carried: bool
    output: str | None
    error: str | None
    at: datetime


class _WaitRow(msgspec.Struct, frozen=True, gc=False):
    run_id: str
    wait_key: str
    wait_type: WaitType
    name: str
    seq: int | None
    carried: bool
    timed_out: bool
    payload: str | None
    is_satisfied: bool
    is_due: bool
    remaining: float | None
    at: datetime | None


class _OpenWaitRow(msgspec.Struct, frozen=True, gc=False):
    run_id: str
    wait_key: str
    is_due: bool
    remaining: float | None


def _open_wait(row: _WaitRow) -> OpenWait:
    if row.wait_type != "retry" and row.wait_type != "start":
        is_gathering = row.wait_type == "event" and row.payload is not None
        return OpenWait(row.wait_key, row.wait_type, row.name, is_gathering=is_gathering)
    tries = Tries.parse(row.payload or "") or Tries("execute", _LONG_AGO)
    return OpenWait(row.wait_key, tries.kind, row.name, tries)


LoadedRow: TypeAlias = _StepRow | _WaitRow | _OpenWaitRow | Event

_CLAIM_RUNS = Query("claims/claim_runs", ClaimedRun)
_CLAIM_SUSPECTS = Query("claims/claim_suspects", ClaimedRun)
_END_TRIAL = Query("claims/end_trial", NoRow)
_NEXT_WAKE = Query("claims/next_wake", NextWake)
_LOAD_STEPS = Query("claims/load_steps", _StepRow)
_LOAD_WAITS = Query("claims/load_waits", _WaitRow)
_LOAD_OPEN_WAITS = Query("claims/load_open_waits", _OpenWaitRow)


def claim_runs(
    shard_value: str, worker_id: str, limit: int, left_to_others: Sequence[str] = ()
) -> Statement[list[ClaimedRun]]:
    """Makes this worker the owner of up to ``limit`` runs of one shard value, but not of those in
    ``left_to_others``."""
    return _CLAIM_RUNS.statement(
        {"shard_value": shard_value, "worker_id": worker_id, "limit": limit, "left_to_others": column(left_to_others)},
        list,
    )


def claim_suspects(shard_value: str, worker_id: str, limit: int, isolation: Isolation) -> Statement[list[ClaimedRun]]:
    """Makes this worker the owner of up to ``limit`` suspects of one shard value that are to be tried in that way."""
    params = {"shard_value": shard_value, "worker_id": worker_id, "limit": limit, "isolation": isolation}
    return _CLAIM_SUSPECTS.statement(params, list)


def end_trial(run_key: RunKey, epoch: int) -> Statement[None]:
    """Notes that the run has survived its trial."""
    params = {"shard_value": run_key.workflow_name_shard, "run_id": run_key.run_id, "epoch": epoch}
    return _END_TRIAL.statement(params, nothing)


def next_wake(shard_value: str, left_to_others: Sequence[str]) -> Statement[NextWake]:
    """Reads when the next run of this shard value wakes, and whether suspects are due."""
    return _NEXT_WAKE.statement({"shard_value": shard_value, "left_to_others": column(left_to_others)}, one)


def load(shard_value: str, replayed: Sequence[str], resident: Sequence[str]) -> list[Statement[Any]]:
    """Reads what ``comebacks`` needs about claimed runs, which are given by their ids: everything for those that are
    ``replayed``, and what is still open for those whose machine is ``resident``. Without runs there are no statements.

    The order of the statements does not matter, nor whether they share a snapshot: the runs belong to this worker, and
    only their inboxes can grow.
    """
    parts = (
        (_LOAD_STEPS, replayed),
        (_LOAD_WAITS, replayed),
        (_LOAD_OPEN_WAITS, resident),
    )
    statements: list[Statement[Any]] = [
        query.statement({"shard_value": shard_value, "run_ids": column(run_ids)}, lambda rows: rows)
        for query, run_ids in parts
        if run_ids
    ]
    return [*statements, load_events(shard_value, [*replayed, *resident])] if statements else []


def comebacks(
    replayed: Sequence[str], resident: Sequence[str], answers: Iterable[Sequence[LoadedRow]]
) -> dict[str, Comeback]:
    """Returns what the answers say about each run, by its id."""
    loaded = {run_id: _Loaded() for run_id in (*replayed, *resident)}
    for rows in answers:
        for row in rows:
            loaded[row.run_id].add(row)
    return {
        **{run_id: loaded[run_id].comeback(is_resident=False) for run_id in replayed},
        **{run_id: loaded[run_id].comeback(is_resident=True) for run_id in resident},
    }


class _Loaded:
    """One run, gathered row by row."""

    __slots__ = ("due", "inbox", "memos", "open_waits", "remaining")

    def __init__(self) -> None:
        self.memos: list[Memo] = []
        self.open_waits: list[OpenWait] = []
        self.due: list[str] = []
        self.remaining: dict[str, float | None] = {}
        self.inbox: list[Event] = []

    def add(self, row: LoadedRow) -> None:
        match row:
            case _StepRow():
                outcome = Value(row.output or "") if row.error is None else Failure(read_error(row.error))
                self.memos.append(Memo(row.step_key, row.kind, row.name, row.seq, row.carried, outcome, row.at))
            case _WaitRow(is_satisfied=True):
                answer: Outcome = TimedOut() if row.timed_out else Value(row.payload or "null")
                kind = _open_wait(row).kind
                self.memos.append(Memo(row.wait_key, kind, row.name, row.seq, row.carried, answer, row.at))
            case _WaitRow():
                self.open_waits.append(_open_wait(row))
                self._await(row)
            case _OpenWaitRow():
                self._await(row)
            case Event():
                self.inbox.append(row)

    def _await(self, row: _WaitRow | _OpenWaitRow) -> None:
        if row.is_due:
            self.due.append(row.wait_key)
        else:
            self.remaining[row.wait_key] = row.remaining

    def comeback(self, *, is_resident: bool) -> Comeback:
        history = None if is_resident else History(tuple(self.memos), tuple(self.open_waits))
        return Comeback(history, Wake(tuple(self.due), self.remaining, tuple(self.inbox)))
