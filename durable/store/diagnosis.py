"""Reads what must be known about a run in order to say why it is not moving."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from durable.core.diagnosis.facts import Facts, InboxFacts, LockFacts, RunFacts, WaitFacts, WorkerFacts
from durable.core.failures import read_error
from durable.core.runs import RunKey
from durable.store.columns import column
from durable.store.statement import Batch, NoRow, Query, Requests, Statement, nothing, one

_MAX_DEPTH = 5
_MAX_CHILDREN = 20
_MAX_ROWS = 200
_MAX_AHEAD = 10_001


class _WaitRow(msgspec.Struct, frozen=True):
    key: str
    kind: str
    name: str | None
    wake_at: datetime | None
    created_at: datetime
    child_shard: str | None
    child_run_id: str | None


class _Ahead(msgspec.Struct, frozen=True):
    ahead: int


class _Allowed(msgspec.Struct, frozen=True):
    is_allowed: bool


class _Error(msgspec.Struct, frozen=True):
    error: str | None


_TAKE_SNAPSHOT = Query("diagnosis/take_snapshot", NoRow)
_RUN_FACTS = Query("diagnosis/run_facts", RunFacts)
_WAIT_FACTS = Query("diagnosis/wait_facts", _WaitRow)
_INBOX_FACTS = Query("diagnosis/inbox_facts", InboxFacts)
_WORKER_FACTS = Query("diagnosis/worker_facts", WorkerFacts)
_LOCK_FACTS = Query("diagnosis/lock_facts", LockFacts)
_COUNT_AHEAD = Query("diagnosis/count_ahead", _Ahead)
_MAY_READ_ERRORS = Query("diagnosis/may_read_errors", _Allowed)
_RUN_ERROR = Query("diagnosis/run_error", _Error)


def take_snapshot() -> Statement[None]:
    """Has the transaction that begins with this see one moment, and change nothing."""
    return _TAKE_SNAPSHOT.statement({}, nothing)


def facts_of(run_key: RunKey, shard_values: Sequence[str]) -> Requests[Facts | None]:
    """Reads the facts about a run; ``None`` if there is no such run. ``shard_values`` are all those of its workflow."""
    may_read_errors = (yield from _MAY_READ_ERRORS.statement({}, one)).is_allowed
    return (yield from _facts_of(run_key, shard_values, may_read_errors=may_read_errors, depth=0))


def _facts_of(
    run_key: RunKey,
    shard_values: Sequence[str],
    *,
    may_read_errors: bool,
    depth: int,
) -> Requests[Facts | None]:
    key = {"shard_value": run_key.workflow_name_shard, "run_id": run_key.run_id}
    runs: Sequence[RunFacts]
    runs, waits, inbox, locks = yield from Batch(
        [
            _RUN_FACTS.statement(key, list),
            _WAIT_FACTS.statement({**key, "limit": _MAX_ROWS}, _waits),
            _INBOX_FACTS.statement({**key, "limit": _MAX_ROWS}, tuple),
            _LOCK_FACTS.statement(key, tuple),
        ]
    )
    if not runs:
        return None
    run = runs[0]
    same_workflow = {"workflow_name": run.workflow_name, "shard_values": column(shard_values)}
    workers = yield from _WORKER_FACTS.statement({**same_workflow, "limit": _MAX_ROWS}, tuple)
    ahead = error = None
    if run.status == "queued":
        ahead = (yield from _COUNT_AHEAD.statement({**key, "limit": _MAX_AHEAD}, one)).ahead
    if may_read_errors:
        text = (yield from _RUN_ERROR.statement(key, one)).error
        error = None if text is None else read_error(text)
    children: list[Facts] = []
    awaited: list[RunKey] = [wait.child for wait in waits if wait.child is not None and depth < _MAX_DEPTH]
    for child in awaited[:_MAX_CHILDREN]:
        found = yield from _facts_of(
            child, [child.workflow_name_shard], may_read_errors=may_read_errors, depth=depth + 1
        )
        if found is not None:
            children.append(found)
    return Facts(
        run_key=run_key,
        run=run,
        waits=waits,
        inbox=inbox,
        workers=workers,
        locks=locks,
        ahead=ahead,
        error=error,
        children=tuple(children),
    )


def _waits(rows: Sequence[Any]) -> tuple[WaitFacts, ...]:
    return tuple(
        WaitFacts(
            row.key,
            row.kind,
            row.name,
            row.wake_at,
            row.created_at,
            None if row.child_shard is None else RunKey(row.child_shard, row.child_run_id),
        )
        for row in rows
    )
