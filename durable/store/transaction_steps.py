"""The memo of a transaction step, stored in that step's own transaction."""

from __future__ import annotations

from durable.store.queries import query
from durable.store.statement import Statement


def store_transaction_memo(
    schema: str,
    shard_value: str,
    worker_id: str,
    *,
    run_id: str,
    epoch: int,
    step_key: str,
    fn: str,
    attempts: int,
    input: str | None,
    output: str,
) -> Statement[bool]:
    """Stores the memo of a transaction step inside its own transaction. ``False``: the run is not ours any more."""
    return Statement(
        query("transaction_steps/store_transaction_memo", schema),
        {
            "shard_value": shard_value,
            "worker_id": worker_id,
            "run_id": run_id,
            "epoch": epoch,
            "step_key": step_key,
            "fn": fn,
            "attempts": attempts,
            "input": input,
            "output": output,
        },
        bool,
    )


def lock_run(schema: str, shard_value: str, worker_id: str, *, run_id: str, epoch: int) -> Statement[bool]:
    """Waits for whoever writes for the run. Whether it is still ours."""
    return Statement(
        query("transaction_steps/lock_run", schema),
        {"shard_value": shard_value, "worker_id": worker_id, "run_id": run_id, "epoch": epoch},
        bool,
    )


def find_transaction_memo(schema: str, shard_value: str, run_id: str, step_key: str) -> Statement[str | None]:
    """The encoded output of a transaction step that has been committed, ``None`` if it has not."""
    return Statement(
        query("transaction_steps/find_transaction_memo", schema),
        {"shard_value": shard_value, "run_id": run_id, "step_key": step_key},
        lambda rows: rows[0][0] if rows else None,
    )
