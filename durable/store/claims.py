"""What a worker asks of the database beside its journal: claims, histories, events, ownership."""

from __future__ import annotations

from collections.abc import Sequence

from durable.core.failures import read_error
from durable.core.replay.history import Failure, History, Memo, OpenWait, Outcome, TimedOut, Value
from durable.store.columns import column
from durable.store.queries import query
from durable.store.records import ClaimedRun, Comeback, Event, Wake
from durable.store.statement import Row, Statement


def claim_runs(
    schema: str, shard_value: str, worker_id: str, limit: int, left_to_others: Sequence[str] = ()
) -> Statement[list[ClaimedRun]]:
    """Makes this worker the owner of up to ``limit`` runs of one shard value, but of none ``left_to_others``."""
    return Statement(
        query("claims/claim_runs", schema),
        {"shard_value": shard_value, "worker_id": worker_id, "limit": limit, "left_to_others": column(left_to_others)},
        lambda rows: [ClaimedRun(*row) for row in rows],
    )


def next_wake(schema: str, shard_value: str, left_to_others: Sequence[str]) -> Statement[float | None]:
    """Seconds until the next run of this shard value wakes (negative: overdue), ``None`` if none sleeps."""
    columns = {"shard_value": shard_value, "left_to_others": column(left_to_others)}
    return Statement(query("claims/next_wake", schema), columns, lambda rows: rows[0][0])


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
            ("claims/load_steps", self._replayed, self._read_steps),
            ("claims/load_waits", self._replayed, self._read_waits),
            ("claims/load_open_waits", self._resident, self._read_open_waits),
            ("claims/load_events", [*self._replayed, *self._resident], self._read_events),
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
