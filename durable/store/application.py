"""What applications ask of the database: begin, publish, look. They insert and read; they never update."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from durable.core.failures import ErrorInfo, read_error
from durable.core.runs import Run, RunKey, RunStatus, Status
from durable.store.columns import column
from durable.store.queries import query
from durable.store.records import EventKind
from durable.store.statement import Row, Statement, nothing


class NewRun(msgspec.Struct, frozen=True):
    """A run about to be begun. ``delay`` and ``timeout`` are in seconds, ``tags`` and ``input`` are encoded."""

    run_id: str
    workflow_name: str
    version: int
    input: str
    key: str | None = None
    delay: float | None = None
    at: datetime | None = None
    priority: int = 0
    tags: str | None = None
    timeout: float | None = None


class NewEvent(msgspec.Struct, frozen=True):
    """An event about to be published, or a request about to be made; ``payload`` is encoded."""

    run_key: RunKey
    event_id: str
    name: str
    payload: str
    key: str | None = None
    kind: EventKind = "event"


class Outcome(msgspec.Struct, frozen=True):
    """How far a run is; ``output`` (encoded) if it is completed, ``error`` if it failed."""

    status: Status
    output: str | None
    error: ErrorInfo | None


def begin_run(schema: str, shard_value: str, run: NewRun) -> Statement[bool]:
    """Whether the run is new."""
    return Statement(
        query("begin_run", schema),
        {
            "shard_value": shard_value,
            "run_id": run.run_id,
            "workflow_name": run.workflow_name,
            "version": run.version,
            "status": "queued" if run.delay is None and run.at is None else "sleeping",
            "priority": run.priority,
            "delay": run.delay,
            "at": run.at,
            "timeout": run.timeout,
            "key": run.key,
            "tags": run.tags,
            "input": run.input,
        },
        bool,
    )


def find_keyed_run(schema: str, shard_values: Sequence[str], run_id: str) -> Statement[tuple[int, str | None]]:
    """The current shard count, and which of these shard values holds a run of that id."""
    return Statement(
        query("find_keyed_run", schema),
        {"shard_values": column(shard_values), "run_id": run_id},
        lambda rows: (rows[0][0], rows[0][1]),
    )


def begin_runs(schema: str, shard_value: str, runs: Sequence[NewRun]) -> Statement[None]:
    """Runs of one workflow, at least one, all due at once."""
    return Statement(
        query("begin_runs", schema),
        {
            "shard_value": shard_value,
            "workflow_name": runs[0].workflow_name,
            "version": runs[0].version,
            "timeout": runs[0].timeout,
            "run_ids": column([run.run_id for run in runs]),
            "inputs": column([run.input for run in runs]),
        },
        nothing,
    )


def publish_event(schema: str, event: NewEvent) -> Statement[bool]:
    """Whether the event was stored now."""
    return Statement(query("publish_event", schema), _event_params(event), bool)


def request_retry(schema: str, request: NewEvent) -> Statement[bool]:
    """Whether the request was stored: the run had failed or been cancelled."""
    params = _event_params(request)
    del params["key"]
    return Statement(query("request_retry", schema), params, bool)


def why_not_published(schema: str, event: NewEvent) -> Statement[tuple[Status, bool] | None]:
    """The status of the run and whether the event is stored; ``None``: no such run."""
    params = _event_params(event)
    del params["payload"], params["kind"]
    return Statement(
        query("why_not_published", schema), params, lambda rows: (rows[0][0], rows[0][1]) if rows else None
    )


def _event_params(event: NewEvent) -> dict[str, Any]:
    return {
        "shard_value": event.run_key.workflow_name_shard,
        "run_id": event.run_key.run_id,
        "event_id": event.event_id,
        "kind": event.kind,
        "name": event.name,
        "key": event.key,
        "payload": event.payload,
    }


def run_status(schema: str, run_key: RunKey) -> Statement[tuple[RunStatus, str | None] | None]:
    """The status, its ``detail`` still encoded and beside it; ``None``: no such run."""

    def read(rows: Sequence[Row]) -> tuple[RunStatus, str | None] | None:
        if not rows:
            return None
        status, error, attempts, takeovers, created_at, updated_at, next_wake_at, detail = rows[0]
        known = RunStatus(status, _error(error), attempts, takeovers, created_at, updated_at, next_wake_at, detail=None)
        return known, detail

    return Statement(query("run_status", schema), _key_params(run_key), read)


def run_outcomes(schema: str, shard_value: str, run_ids: Sequence[str]) -> Statement[dict[str, Outcome]]:
    """By run id; runs that do not exist are missing."""
    return Statement(
        query("run_outcomes", schema),
        {"shard_value": shard_value, "run_ids": column(run_ids)},
        lambda rows: {run_id: Outcome(status, output, _error(error)) for run_id, status, output, error in rows},
    )


def run_created_at(schema: str, run_key: RunKey) -> Statement[datetime | None]:
    """When the run was begun; ``None``: no such run."""
    return Statement(query("run_created_at", schema), _key_params(run_key), lambda rows: rows[0][0] if rows else None)


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
        query("list_runs", schema),
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
