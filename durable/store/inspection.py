"""What people and applications read of runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from durable.core.failures import ErrorInfo, read_error
from durable.core.runs import Run, RunKey, RunStatus, Status
from durable.store.columns import column
from durable.store.queries import query
from durable.store.statement import Row, Statement


class Outcome(msgspec.Struct, frozen=True):
    """How far a run is; ``output`` (encoded) if it is completed, ``error`` if it failed."""

    status: Status
    output: str | None
    error: ErrorInfo | None


def run_status(schema: str, run_key: RunKey) -> Statement[tuple[RunStatus, str | None] | None]:
    """The status, its ``detail`` still encoded and beside it; ``None``: no such run."""

    def read(rows: Sequence[Row]) -> tuple[RunStatus, str | None] | None:
        if not rows:
            return None
        status, error, attempts, takeovers, created_at, updated_at, next_wake_at, detail = rows[0]
        known = RunStatus(status, _error(error), attempts, takeovers, created_at, updated_at, next_wake_at, detail=None)
        return known, detail

    return Statement(query("inspection/run_status", schema), _key_params(run_key), read)


def run_outcomes(schema: str, shard_value: str, run_ids: Sequence[str]) -> Statement[dict[str, Outcome]]:
    """By run id; runs that do not exist are missing."""
    return Statement(
        query("inspection/run_outcomes", schema),
        {"shard_value": shard_value, "run_ids": column(run_ids)},
        lambda rows: {run_id: Outcome(status, output, _error(error)) for run_id, status, output, error in rows},
    )


def run_created_at(schema: str, run_key: RunKey) -> Statement[datetime | None]:
    """When the run was begun; ``None``: no such run."""
    return Statement(
        query("inspection/run_created_at", schema), _key_params(run_key), lambda rows: rows[0][0] if rows else None
    )


def list_runs(
    schema: str,
    *,
    workflow_name: str | None,
    status: Status | None,
    limit: int,
    before: tuple[datetime, RunKey] | None,
) -> Statement[list[Run]]:
    """Newest first; ``before``: only runs begun before that moment and run."""
    return Statement(
        query("inspection/list_runs", schema),
        {
            "workflow_name": workflow_name,
            "status": status,
            "limit": limit,
            "before_created_at": before[0] if before else None,
            "before_run_id": before[1].run_id if before else None,
        },
        lambda rows: [_run(row) for row in rows],
    )


def _run(row: Row) -> Run:
    shard_value, run_id, workflow_name, version, status, attempts, takeovers, priority, tags, *times = row
    return Run(
        RunKey(shard_value, run_id),
        workflow_name,
        version,
        status,
        attempts,
        takeovers,
        priority,
        _tags(tags) if tags else {},
        *times,
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
