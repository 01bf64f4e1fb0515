"""Runs that applications begin. Applications insert runs and never update them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from durable.store.columns import Element, column
from durable.store.statement import NoRow, Query, RunId, Statement, nothing


class NewRun(msgspec.Struct, frozen=True):
    """A run about to be begun. ``delay`` and ``timeout`` are in seconds; ``tags``,
    ``headers`` and ``input`` are encoded."""

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
    headers: str | None = None


_BEGIN_RUN = Query("runs/begin_run", RunId)
_BEGIN_KEYED_RUN = Query("runs/begin_keyed_run", RunId)
_BEGIN_RUNS = Query("runs/begin_runs", NoRow)


def begin_run(shard_value: str, run: NewRun) -> Statement[bool]:
    """Inserts a run; answers whether it is new."""
    return _BEGIN_RUN.statement(_params(shard_value, run), bool)


def begin_keyed_run(shard_value: str, run: NewRun, shard_count: int) -> Statement[bool]:
    """Inserts a run whose shard value was computed with that shard count, unless that is no longer the current one;
    answers whether it was inserted."""
    return _BEGIN_KEYED_RUN.statement({**_params(shard_value, run), "shard_count": shard_count}, bool)


def _params(shard_value: str, run: NewRun) -> dict[str, Any]:
    return {
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
        "headers": run.headers,
    }


def begin_runs(shard_value: str, runs: Sequence[NewRun]) -> Statement[None]:
    """Inserts runs of one workflow, at least one run."""
    return _BEGIN_RUNS.statement(
        {
            "shard_value": shard_value,
            "workflow_name": runs[0].workflow_name,
            "version": runs[0].version,
            "run_ids": column([run.run_id for run in runs]),
            "inputs": column([run.input for run in runs]),
            "priorities": column([run.priority for run in runs]),
            "delays": _optional([run.delay for run in runs]),
            "ats": _optional([run.at for run in runs]),
            "timeouts": _optional([run.timeout for run in runs]),
            "keys": _optional([run.key for run in runs]),
            "tags": _optional([run.tags for run in runs]),
            "headers": _optional([run.headers for run in runs]),
        },
        nothing,
    )


def _optional(values: Sequence[Element]) -> str:
    """Returns a column in which an empty text stands for ``None``; an empty one if it holds nothing else."""
    if all(value is None for value in values):
        return column([])
    return column(["" if value is None else value for value in values])
