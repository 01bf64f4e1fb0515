"""One flush of the journal for one shard value, as a list of statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from durable.core.replay.endings import Park, Settle
from durable.core.runs import RunKey
from durable.store.channels import announce_ended, announce_runs
from durable.store.children import (
    EndedChild,
    announce_family,
    announce_told,
    begin_children,
    cancel_children,
    ended_child,
    tell_parents,
)
from durable.store.columns import column
from durable.store.queries import query
from durable.store.records import (
    AbandonedWait,
    AnsweredWait,
    Entry,
    Event,
    MetRequest,
    NewChild,
    OpenedWait,
    OrderedStep,
    Record,
    StepMemo,
    UnwantedChild,
    Written,
)
from durable.store.routing import forget_failed_steps
from durable.store.statement import Row, Statement, nothing

EntryT = TypeVar("EntryT", bound=Entry)


class Flush:
    """Collects what the statements of one transaction return. ``statements`` must run in their order, then what
    ``relatives`` gives; after the commit ``announcements``. Then ``written`` tells what became of each record."""

    def __init__(self, schema: str, shard_value: str, worker_id: str, records: Sequence[Record]) -> None:
        self._schema = schema
        self._shard_value = shard_value
        self._common = {"shard_value": shard_value, "worker_id": worker_id}
        self._records = sorted(records, key=lambda record: record.run_id)
        self._entries = _by_kind(self._records)
        self.has_relatives = (
            NewChild in self._entries
            or UnwantedChild in self._entries
            or any(record.parent and _is_end(record) for record in self._records)
        )
        """Whether anything is to be written of children and parents."""
        self._ours: set[str] = set()
        self._wakes: dict[str, float | None] = {}
        self._requeued: set[str] = set()
        self._inboxes: dict[str, list[Event]] = {}

    def _of(self, kind: type[EntryT]) -> list[tuple[Record, EntryT]]:
        return self._entries.get(kind, [])

    def statements(self) -> list[Statement[None]]:
        """What the transaction consists of: the run rows are locked first, and released last."""
        records = self._records
        parked = [record for record in records if isinstance(record.ending, Park)]
        settled = [record for record in records if isinstance(record.ending, Settle)]
        staying = [record for record in records if not isinstance(record.ending, Settle)]
        parts = [
            self._of_runs("flush/fence_runs", staying, self._read_ours),
            self._settle(settled),
            self._steps(),
            self._orders(),
            self._open(),
            self._satisfy(),
            self._consume(),
            self._abandon(),
            self._of_runs("flush/drop_deadlines", [record for record in records if record.is_cancelled], nothing),
            self._forget_failed(settled),
            self._of_runs(
                "flush/forget_open_waits", [record for record in settled if _ends_waits(record.ending)], nothing
            ),
            self._of_runs("flush/park_runs", parked, self._read_wakes),
            self._of_ids("flush/requeue_parked_runs", parked, self._read_requeued),
            self._of_ids(
                "claims/load_events", [r for r in staying if r.wants_inbox and r.ending is None], self._read_inbox
            ),
        ]
        return [part for part in parts if part is not None]

    def fence(self) -> Statement[None]:
        """For a flush that may have been committed before: finds out which runs are still ours. ``ours`` follows."""
        return Statement(
            query("flush/fence_runs", self._schema),
            {
                **self._common,
                "run_ids": column([record.run_id for record in self._records]),
                "epochs": column([record.epoch for record in self._records]),
            },
            self._read_ours,
        )

    def ours(self, _: Sequence[Any]) -> list[Statement[None]]:
        """As ``statements``, of those runs only."""
        self._records = [record for record in self._records if record.run_id in self._ours]
        self._entries = _by_kind(self._records)
        return self.statements()

    def relatives(self, _: Sequence[Any]) -> list[Statement[None]]:
        """Once it is known which runs are ours: their children begin or are asked to cancel, their parents are told."""
        children, unwanted, ended = self._family(lambda record: record.run_id in self._ours)
        return [
            *begin_children(self._schema, self._shard_value, children),
            *cancel_children(self._schema, self._shard_value, unwanted),
            *tell_parents(self._schema, ended),
        ]

    def announcements(self, *, is_leaving: bool) -> list[Statement[None]]:
        """Also of what may not be ours: whoever lost the answer to a commit says it after the next. A worker that
        ``is_leaving`` tells the others of all that is to wake, too."""
        done = announce_ended(self._schema, [record.run_id for record in self._records if _is_end(record)])
        if any(_is_for_others(record, is_leaving=is_leaving) for record in self._records):
            done.append(announce_runs(self._schema, self._shard_value))
        if not self.has_relatives:
            return done
        children, unwanted, ended = self._family(lambda _: True)
        return [
            *done,
            *announce_family(self._schema, [child for _, child in children], [child for _, child in unwanted]),
            *announce_told(self._schema, ended),
        ]

    def _family(
        self, is_meant: Callable[[Record], bool]
    ) -> tuple[list[tuple[str, NewChild]], list[tuple[str, RunKey]], list[EndedChild]]:
        meant = [record for record in self._records if is_meant(record)]
        children = [(record.run_id, child) for record, child in self._of(NewChild) if is_meant(record)]
        unwanted = [(record.run_id, child.run_key) for record, child in self._of(UnwantedChild) if is_meant(record)]
        return children, unwanted, [child for record in meant if (child := _ended_child(record)) is not None]

    def written(self, record: Record) -> Written:
        """What became of that record."""
        if record.run_id not in self._ours:
            return Written(is_ours=False)
        inbox = self._inboxes.get(record.run_id, []) if record.wants_inbox and record.ending is None else None
        return Written(
            is_ours=True,
            wake_in=self._wakes.get(record.run_id),
            requeued=record.run_id in self._requeued,
            inbox=None if inbox is None else tuple(inbox),
        )

    # the statements, each built from columns

    def _statement(self, name: str, read: Any, **columns: Sequence[Any]) -> Statement[None] | None:
        if not next(iter(columns.values())):
            return None
        return Statement(
            query(name, self._schema),
            {**self._common, **{key: column(values) for key, values in columns.items()}},
            read,
        )

    def _of_runs(self, name: str, records: Iterable[Record], read: Any) -> Statement[None] | None:
        chosen = list(records)
        return self._statement(name, read, run_ids=[r.run_id for r in chosen], epochs=[r.epoch for r in chosen])

    def _of_ids(self, name: str, records: Iterable[Record], read: Any) -> Statement[None] | None:
        return self._statement(name, read, run_ids=[record.run_id for record in records])

    def _settle(self, settled: list[Record]) -> Statement[None] | None:
        endings = [record.ending for record in settled if isinstance(record.ending, Settle)]
        return self._statement(
            "flush/settle_runs",
            self._read_ours,
            run_ids=[record.run_id for record in settled],
            epochs=[record.epoch for record in settled],
            statuses=[ending.status for ending in endings],
            outputs=[ending.output for ending in endings],
            errors=[ending.error for ending in endings],
            failed_attempts=[ending.failed_attempts for ending in endings],
            set_asides=[ending.set_asides for ending in endings],
            wake_ins=[ending.wake_in for ending in endings],
        )

    def _forget_failed(self, settled: list[Record]) -> Statement[None] | None:
        retried = [r for r in settled if isinstance(r.ending, Settle) and r.ending.is_retry]
        if not retried:
            return None
        return forget_failed_steps(self._schema, self._shard_value, [(r.run_id, r.epoch) for r in retried])

    def _steps(self) -> Statement[None] | None:
        rows = self._of(StepMemo)
        return self._statement(
            "flush/record_steps",
            nothing,
            run_ids=[record.run_id for record, _ in rows],
            epochs=[record.epoch for record, _ in rows],
            step_keys=[memo.key for _, memo in rows],
            kinds=[memo.kind for _, memo in rows],
            seqs=[memo.seq for _, memo in rows],
            fns=[memo.fn for _, memo in rows],
            attempts=[memo.attempts for _, memo in rows],
            tooks=[memo.took for _, memo in rows],
            inputs=[memo.input for _, memo in rows],
            outputs=[memo.output for _, memo in rows],
            errors=[memo.error for _, memo in rows],
        )

    def _orders(self) -> Statement[None] | None:
        rows = self._of(OrderedStep)
        return self._statement(
            "flush/order_steps",
            nothing,
            run_ids=[record.run_id for record, _ in rows],
            epochs=[record.epoch for record, _ in rows],
            step_keys=[step.key for _, step in rows],
            seqs=[step.seq for _, step in rows],
        )

    def _open(self) -> Statement[None] | None:
        rows = self._of(OpenedWait)
        return self._statement(
            "flush/open_waits",
            nothing,
            run_ids=[record.run_id for record, _ in rows],
            epochs=[record.epoch for record, _ in rows],
            wait_keys=[wait.key for _, wait in rows],
            wait_types=["child_result" if wait.child else "event" if wait.event_name else "sleep" for _, wait in rows],
            event_names=[wait.event_name or wait.child for _, wait in rows],
            wake_ins=[wait.wake_in for _, wait in rows],
            untils=[wait.until for _, wait in rows],
        )

    def _satisfy(self) -> Statement[None] | None:
        rows = self._of(AnsweredWait)
        return self._statement(
            "flush/satisfy_waits",
            nothing,
            run_ids=[record.run_id for record, _ in rows],
            epochs=[record.epoch for record, _ in rows],
            wait_keys=[answer.key for _, answer in rows],
            seqs=[answer.seq for _, answer in rows],
            timed_outs=[answer.timed_out for _, answer in rows],
            event_ids=[answer.event_id for _, answer in rows],
            payloads=[answer.payload for _, answer in rows],
        )

    def _consume(self) -> Statement[None] | None:
        rows = [(record, answer.key, answer.event_id) for record, answer in self._of(AnsweredWait) if answer.event_id]
        rows += [(record, "", request.event_id) for record, request in self._of(MetRequest)]
        return self._statement(
            "flush/consume_events",
            nothing,
            run_ids=[record.run_id for record, _, _ in rows],
            epochs=[record.epoch for record, _, _ in rows],
            wait_keys=[key for _, key, _ in rows],
            event_ids=[event_id for _, _, event_id in rows],
        )

    def _abandon(self) -> Statement[None] | None:
        rows = self._of(AbandonedWait)
        return self._statement(
            "flush/abandon_waits",
            nothing,
            run_ids=[record.run_id for record, _ in rows],
            epochs=[record.epoch for record, _ in rows],
            wait_keys=[wait.key for _, wait in rows],
        )

    # the readers

    def _read_ours(self, rows: Sequence[Row]) -> None:
        self._ours.update(row[0] for row in rows)

    def _read_wakes(self, rows: Sequence[Row]) -> None:
        self._wakes.update((run_id, wake_in) for run_id, wake_in in rows)

    def _read_requeued(self, rows: Sequence[Row]) -> None:
        self._requeued.update(row[0] for row in rows)

    def _read_inbox(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._inboxes.setdefault(row[0], []).append(Event(*row))


def _by_kind(records: Iterable[Record]) -> dict[type[Any], list[tuple[Record, Any]]]:
    kinds: defaultdict[type[Any], list[tuple[Record, Any]]] = defaultdict(list)
    for record in records:
        for entry in record.entries:
            kinds[type(entry)].append((record, entry))
    return kinds


def _is_end(record: Record) -> bool:
    return isinstance(record.ending, Settle) and record.ending.is_terminal


def _is_for_others(record: Record, *, is_leaving: bool) -> bool:
    match record.ending:
        case Settle() as settled if not settled.is_terminal:
            return is_leaving or settled.is_set_aside
        case Park():
            return is_leaving
        case _:
            return False


def _ended_child(record: Record) -> EndedChild | None:
    ending = record.ending
    if record.parent is None or not isinstance(ending, Settle):
        return None
    if ending.status == "queued" or ending.status == "sleeping":
        return None
    return ended_child(record.parent, record.run_id, ending.status, output=ending.output, error=ending.error)


def _ends_waits(ending: object) -> bool:
    return isinstance(ending, Settle) and (ending.is_retry or ending.is_terminal)
