"""What applications ask of the database: begin, publish, look. They insert and read; they never update."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from durable.store.columns import column
from durable.store.queries import query
from durable.store.statement import Statement, nothing


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


def begin_run(schema: str, shard_value: str, run: NewRun) -> Statement[bool]:
    """Whether the run is new."""
    return Statement(
        query("runs/begin_run", schema),
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
        query("runs/find_keyed_run", schema),
        {"shard_values": column(shard_values), "run_id": run_id},
        lambda rows: (rows[0][0], rows[0][1]),
    )


def begin_runs(schema: str, shard_value: str, runs: Sequence[NewRun]) -> Statement[None]:
    """Runs of one workflow, at least one, all due at once."""
    return Statement(
        query("runs/begin_runs", schema),
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
