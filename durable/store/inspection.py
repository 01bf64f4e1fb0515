"""What people and applications read about runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import decode_at
from durable.core.failures import ErrorInfo, read_error
from durable.core.runs import Run, RunInfo, RunKey, Status, StatusReason
from durable.store.columns import column
from durable.store.statement import Query, Statement


class RunOutcome(msgspec.Struct, frozen=True):
    """How far a run has come, with ``output`` (encoded) if it is completed and ``error`` if it failed or was
    cancelled."""

    status: Status
    output: str | None
    error: ErrorInfo | None


class _InfoRow(msgspec.Struct, frozen=True):
    status: Status
    status_reason: StatusReason | None
    error: str | None
    attempts: int
    takeovers: int
    created_at: datetime
    updated_at: datetime
    next_wake_at: datetime | None
    chapter: int
    detail: str | None


class _OutcomeRow(msgspec.Struct, frozen=True):
    run_id: str
    status: Status
    output: str | None
    error: str | None


class _CreatedAt(msgspec.Struct, frozen=True):
    created_at: datetime


class _RunRow(msgspec.Struct, frozen=True):
    workflow_name_shard: str
    run_id: str
    workflow_name: str
    version: int
    status: Status
    status_reason: StatusReason | None
    attempts: int
    takeovers: int
    priority: int
    tags: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    next_wake_at: datetime | None
    key: str | None
    generation: int


_RUN_INFO = Query("inspection/run_info", _InfoRow)
_RUN_OUTCOMES = Query("inspection/run_outcomes", _OutcomeRow)
_RUN_CREATED_AT = Query("inspection/run_created_at", _CreatedAt)
_LIST_RUNS = Query("inspection/list_runs", _RunRow)


def run_info(run_key: RunKey, codec: Codec) -> Statement[RunInfo | None]:
    """Reads the state of a run, of which ``codec`` has encoded the status; ``None`` if there is no such run."""

    def read(rows: Sequence[_InfoRow]) -> RunInfo | None:
        if not rows:
            return None
        row = rows[0]
        return RunInfo(
            status=row.status,
            status_reason=row.status_reason,
            error=_error(row.error),
            attempts=row.attempts,
            takeovers=row.takeovers,
            created_at=row.created_at,
            updated_at=row.updated_at,
            next_wake_at=row.next_wake_at,
            chapter=row.chapter,
            detail=None if row.detail is None else _detail(run_key, row.detail, codec),
        )

    return _RUN_INFO.statement(_key_params(run_key), read)


def _detail(run_key: RunKey, text: str, codec: Codec) -> Any:
    return decode_at(codec, "status", run_key.run_id, "", text, Any, lambda: f"the status of run {run_key}")


def run_outcomes(shard_value: str, run_ids: Sequence[str]) -> Statement[dict[str, RunOutcome]]:
    """Reads results, by run id; runs that do not exist are missing."""
    return _RUN_OUTCOMES.statement(
        {"shard_value": shard_value, "run_ids": column(run_ids)},
        lambda rows: {row.run_id: RunOutcome(row.status, row.output, _error(row.error)) for row in rows},
    )


def run_created_at(run_key: RunKey) -> Statement[datetime | None]:
    """Reads when the run was begun; ``None`` if there is no such run."""
    return _RUN_CREATED_AT.statement(_key_params(run_key), lambda rows: rows[0].created_at if rows else None)


def list_runs(
    *,
    workflow_name: str | None,
    key: str | None,
    status: Status | None,
    limit: int,
    before: tuple[datetime, RunKey] | None,
) -> Statement[list[Run]]:
    """Reads runs, newest first; with ``before``, only those begun before that moment and run."""
    return _LIST_RUNS.statement(
        {
            "workflow_name": workflow_name,
            "key": key,
            "status": status,
            "limit": limit,
            "before_created_at": before[0] if before else None,
            "before_run_id": before[1].run_id if before else None,
        },
        lambda rows: [_run(row) for row in rows],
    )


def _run(row: _RunRow) -> Run:
    return Run(
        run_key=RunKey(row.workflow_name_shard, row.run_id),
        workflow_name=row.workflow_name,
        version=row.version,
        status=row.status,
        status_reason=row.status_reason,
        attempts=row.attempts,
        takeovers=row.takeovers,
        priority=row.priority,
        tags=_tags(row.tags) if row.tags else {},
        created_at=row.created_at,
        updated_at=row.updated_at,
        completed_at=row.completed_at,
        next_wake_at=row.next_wake_at,
        key=row.key,
        generation=row.generation,
    )


def _key_params(run_key: RunKey) -> dict[str, Any]:
    return {"shard_value": run_key.workflow_name_shard, "run_id": run_key.run_id}


def _error(text: str | None) -> ErrorInfo | None:
    return None if text is None else read_error(text)


def _tags(text: str) -> dict[str, str]:
    found = msgspec.json.decode(text)
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in found.items()
    }
