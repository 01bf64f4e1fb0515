"""The memo of a transaction step, stored in that step's own transaction."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable.store.operation import operation
from durable.store.statement import Commit, NoRow, Query, Requests, RunId, Statement, nothing


class Ownership(msgspec.Struct, frozen=True):
    """The ownership of a run that entitles a transaction step to store its memo."""

    shard_value: str
    worker_id: str
    run_id: str
    epoch: int


class _Memo(msgspec.Struct, frozen=True):
    output: str | None


_STORE_TRANSACTION_MEMO = Query("transaction_steps/store_transaction_memo", RunId)
_FORGET_TRIES = Query("transaction_steps/forget_tries", NoRow)
_LOCK_RUN = Query("transaction_steps/lock_run", RunId)
_FIND_TRANSACTION_MEMO = Query("transaction_steps/find_transaction_memo", _Memo)


def store_transaction_memo(
    ownership: Ownership, *, step_key: str, fn: str, attempts: int, input: str | None, output: str
) -> Statement[bool]:
    """Stores the memo; answers ``False`` if the run is no longer ours."""
    return _STORE_TRANSACTION_MEMO.statement(
        {
            **msgspec.structs.asdict(ownership),
            "step_key": step_key,
            "fn": fn,
            "attempts": attempts,
            "input": input,
            "output": output,
        },
        bool,
    )


def forget_tries(ownership: Ownership, step_key: str) -> Statement[None]:
    """Deletes what was recorded of failed tries of the step, in the transaction that stores its memo."""
    params = {"shard_value": ownership.shard_value, "run_id": ownership.run_id, "step_key": step_key}
    return _FORGET_TRIES.statement(params, nothing)


class Committed(msgspec.Struct, frozen=True):
    """Whether the run is still ours, and the encoded output of a step that was committed, ``None`` if it was not."""

    is_ours: bool
    output: str | None


@operation
def find_committed(ownership: Ownership, step_key: str) -> Requests[Committed]:
    """Reads what an earlier try of a transaction step has committed if its outcome is not known. Waits for any
    transaction that is writing for the run, because that try may still be finishing."""

    def output(rows: Sequence[_Memo]) -> str | None:
        return rows[0].output if rows else None

    key = {"shard_value": ownership.shard_value, "run_id": ownership.run_id, "step_key": step_key}
    # The memo is looked up after the lock, in a statement of its own: the snapshot of a statement that waits is older
    # than what it waits for.
    is_ours, memo = yield from Commit(
        [_LOCK_RUN.statement(msgspec.structs.asdict(ownership), bool), _FIND_TRANSACTION_MEMO.statement(key, output)]
    )
    return Committed(is_ours, memo)
