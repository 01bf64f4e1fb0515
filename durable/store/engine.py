"""What a worker asks of the database beside its journal: claims, histories, events, ownership."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable.core.failures import ErrorInfo, read_error
from durable.core.history import Failure, History, Memo, OpenWait, Outcome, TimedOut, Value
from durable.core.runs import RunKey
from durable.store.channels import announce_ended, announce_runs
from durable.store.columns import column
from durable.store.family import EndedChild, announce_told, ended_child
from durable.store.queries import query
from durable.store.records import ClaimedRun, Comeback, Event, Wake
from durable.store.statement import Row, Statement, nothing


class Routed(msgspec.Struct, frozen=True):
    """What a pass of routing did: what is for runs that this worker executes now, how many parked runs woke, and the
    ids of the runs that it ended, with those of them whose parents are to be told in the same transaction."""

    live: tuple[Event, ...]
    woken: int
    ended: tuple[str, ...]
    children: tuple[EndedChild, ...]


class Unrouted(msgspec.Struct, frozen=True):
    """What routing has left: events and requests of runs that were locked, and runs to be retried."""

    is_more: bool
    is_retry: bool


class TakenOver(msgspec.Struct, frozen=True):
    """What became of the runs of one shard value that their worker has lost: their ids by their new status. Parents of
    ``children``, which failed, are to be told in the same transaction."""

    shard_value: str
    queued: tuple[str, ...]
    failed: tuple[str, ...]
    children: tuple[EndedChild, ...]


def claim_runs(
    schema: str, shard_value: str, worker_id: str, limit: int, left_to_others: Sequence[str] = ()
) -> Statement[list[ClaimedRun]]:
    """Makes this worker the owner of up to ``limit`` runs of one shard value, but of none ``left_to_others``."""
    return Statement(
        query("claim_runs", schema),
        {"shard_value": shard_value, "worker_id": worker_id, "limit": limit, "left_to_others": column(left_to_others)},
        lambda rows: [ClaimedRun(*row) for row in rows],
    )


def next_wake(schema: str, shard_value: str, left_to_others: Sequence[str]) -> Statement[float | None]:
    """Seconds until the next run of this shard value wakes (negative: overdue), ``None`` if none sleeps."""
    columns = {"shard_value": shard_value, "left_to_others": column(left_to_others)}
    return Statement(query("next_wake", schema), columns, lambda rows: rows[0][0])


class Load:
    """Brings claimed runs back: the history of those in ``replayed``, and of all of them what woke them."""

    def __init__(self, schema: str, shard_value: str, replayed: Sequence[str], resident: Sequence[str]) -> None:
        self._schema = schema
        self._shard_value = shard_value
        self._replayed = list(replayed)
        self._resident = list(resident)
        self._memos: dict[str, list[Memo]] = {}
        self._open: dict[str, list[OpenWait]] = {}
        self._due: dict[str, list[str]] = {}
        self._remaining: dict[str, dict[str, float | None]] = {}
        self._inboxes: dict[str, list[Event]] = {}

    def statements(self) -> list[Statement[None]]:
        """In any order, in one snapshot or several: the runs are ours, only their inboxes can still grow."""
        parts = [
            ("load_steps", self._replayed, self._read_steps),
            ("load_waits", self._replayed, self._read_waits),
            ("load_open_waits", self._resident, self._read_open_waits),
            ("load_events", [*self._replayed, *self._resident], self._read_events),
        ]
        return [
            Statement(query(name, self._schema), {"shard_value": self._shard_value, "run_ids": column(run_ids)}, read)
            for name, run_ids, read in parts
            if run_ids
        ]

    def comebacks(self) -> dict[str, Comeback]:
        """By run id, once the statements have run."""
        found: dict[str, Comeback] = {}
        for run_id in (*self._replayed, *self._resident):
            wake = Wake(
                tuple(self._due.get(run_id, ())),
                self._remaining.get(run_id, {}),
                tuple(self._inboxes.get(run_id, ())),
            )
            history = History(tuple(self._memos.get(run_id, ())), tuple(self._open.get(run_id, ())))
            found[run_id] = Comeback(history, wake)
        for run_id in self._resident:
            found[run_id] = Comeback(None, found[run_id].wake)
        return found

    def _read_steps(self, rows: Sequence[Row]) -> None:
        for run_id, key, kind, fn, seq, carried, output, error in rows:
            outcome: Outcome = Value(output) if error is None else Failure(read_error(error))
            self._memos.setdefault(run_id, []).append(Memo(key, kind, fn, seq, carried, outcome))

    def _read_waits(self, rows: Sequence[Row]) -> None:
        for run_id, key, kind, name, seq, carried, timed_out, payload, is_satisfied, is_due, remaining in rows:
            if is_satisfied:
                outcome: Outcome = TimedOut() if timed_out else Value("null" if payload is None else payload)
                self._memos.setdefault(run_id, []).append(Memo(key, kind, name or "", seq, carried, outcome))
            else:
                self._open.setdefault(run_id, []).append(OpenWait(key, kind, name or ""))
                self._note(run_id, key, remaining, is_due=is_due)

    def _read_open_waits(self, rows: Sequence[Row]) -> None:
        for run_id, key, is_due, remaining in rows:
            self._note(run_id, key, remaining, is_due=is_due)

    def _note(self, run_id: str, key: str, remaining: float | None, *, is_due: bool) -> None:
        if is_due:
            self._due.setdefault(run_id, []).append(key)
        else:
            self._remaining.setdefault(run_id, {})[key] = remaining

    def _read_events(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._inboxes.setdefault(row[0], []).append(Event(*row))


def route_events(schema: str, shard_value: str, worker_id: str, limit: int) -> Statement[Routed]:
    """Turns up to ``limit`` committed events of one shard value into wakes. ``tell_parents`` follows in the same
    transaction."""

    def read(rows: Sequence[Row]) -> Routed:
        if not rows:
            return Routed((), 0, (), ())
        live = tuple(Event(*row[:5]) for row in rows if row[5])
        woken, ended, *columns = rows[0][6:]
        children = tuple(
            ended_child(parent, run_id, "cancelled", error=error)
            for run_id, error, *key in zip(ended or (), *(column or () for column in columns), strict=True)
            if (parent := _parent(*key)) is not None
        )
        return Routed(live, woken, tuple(ended or ()), children)

    return Statement(
        query("route_events", schema), {"shard_value": shard_value, "worker_id": worker_id, "limit": limit}, read
    )


def unrouted_events(schema: str, shard_value: str, worker_id: str) -> Statement[Unrouted]:
    """What is left that this worker could do."""
    return Statement(
        query("unrouted_events", schema),
        {"shard_value": shard_value, "worker_id": worker_id},
        lambda rows: Unrouted(*rows[0]),
    )


def retry_runs(schema: str, shard_value: str, limit: int) -> Statement[list[tuple[str, int]]]:
    """Queues ended runs that are to be retried. Returns their ids and epochs; ``forget_failed_steps`` follows in the
    same transaction."""
    return Statement(
        query("retry_runs", schema),
        {"shard_value": shard_value, "limit": limit},
        lambda rows: [(row[0], row[1]) for row in rows],
    )


def forget_failed_steps(schema: str, shard_value: str, runs: Sequence[tuple[str, int]]) -> Statement[None]:
    """Lets these runs (id and epoch), whose rows are locked, try again what failed."""
    return Statement(
        query("forget_failed_steps", schema),
        {
            "shard_value": shard_value,
            "run_ids": column([run[0] for run in runs]),
            "epochs": column([run[1] for run in runs]),
        },
        nothing,
    )


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
        query("store_transaction_memo", schema),
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


def take_over_runs(
    schema: str,
    shard_value: str,
    owner: str,
    limit: int,
    *,
    max_strikes: int,
    held: Sequence[str] = (),
    is_strike: bool = True,
) -> Statement[TakenOver]:
    """Frees up to ``limit`` runs of a worker that is dead, or of a living one those that are not ``held``. After
    ``max_strikes`` strikes without a new memo in between a run fails with ``CrashLoop``; ``tell_parents`` follows in
    the same transaction."""
    crash_loop = ErrorInfo(
        "CrashLoop",
        f"{max_strikes} workers in a row died or gave up while executing this run, without a new memo; "
        "find out what ended them, then retry the run",
    ).text

    def read(rows: Sequence[Row]) -> TakenOver:
        failed = [row for row in rows if row[1] == "failed"]
        children = tuple(
            ended_child(parent, run_id, "failed", error=crash_loop)
            for run_id, _, *key in failed
            if (parent := _parent(*key)) is not None
        )
        queued = tuple(row[0] for row in rows if row[1] == "queued")
        return TakenOver(shard_value, queued, tuple(row[0] for row in failed), children)

    return Statement(
        query("take_over_runs", schema),
        {
            "shard_value": shard_value,
            "owner": owner,
            "limit": limit,
            "held": column(held),
            "strike": int(is_strike),
            "max_strikes": max_strikes,
            "crash_loop": crash_loop,
        },
        read,
    )


def _parent(shard_value: str | None, run_id: str | None) -> RunKey | None:
    return None if shard_value is None or run_id is None else RunKey(shard_value, run_id)


def announce_taken_over(schema: str, taken: TakenOver) -> list[Statement[None]]:
    """Tells the workers of the runs that are free again, and those who wait of the runs that failed, parents too."""
    freed = [announce_runs(schema, taken.shard_value)] if taken.queued else []
    return [*announce_ended(schema, taken.failed), *announce_told(schema, taken.children), *freed]


def lock_run(schema: str, shard_value: str, worker_id: str, *, run_id: str, epoch: int) -> Statement[bool]:
    """Waits for whoever writes for the run. Whether it is still ours."""
    return Statement(
        query("lock_run", schema),
        {"shard_value": shard_value, "worker_id": worker_id, "run_id": run_id, "epoch": epoch},
        bool,
    )


def find_transaction_memo(schema: str, shard_value: str, run_id: str, step_key: str) -> Statement[str | None]:
    """The encoded output of a transaction step that has been committed, ``None`` if it has not."""
    return Statement(
        query("find_transaction_memo", schema),
        {"shard_value": shard_value, "run_id": run_id, "step_key": step_key},
        lambda rows: rows[0][0] if rows else None,
    )
