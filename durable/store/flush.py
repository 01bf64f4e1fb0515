"""One flush of the journal: what runs of one shard value have recorded, written in one transaction.

The run rows are locked first and released last. A statement about entries joins the locked runs by their epoch, so
nothing is stored for a run that is no longer ours, and a batch never fails because of such a run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from durable.core.replay.endings import PAUSED, NextChapter, Park, Settle
from durable.store.channels import announce_ended, announce_runs_to_all
from durable.store.chapters import begin_chapters
from durable.store.children import (
    announce_children,
    announce_told,
    begin_children,
    cancel_children,
    complete_children,
    dismiss_children,
    tell_parents,
)
from durable.store.columns import column
from durable.store.entries import ENTRIES
from durable.store.events import load_events
from durable.store.leaving import child_that_ended, ends_waits, has_ended, is_for_others, is_settled, shows_error
from durable.store.operation import operation
from durable.store.publishing import Sent, announce_sent, needs_shards, publish, record_published
from durable.store.records import (
    AnsweredWait,
    ChildMemo,
    Event,
    MetRequest,
    PublishedMemo,
    Record,
    ReplyMemo,
    UnwantedChild,
    Written,
)
from durable.store.routing import RetriedRun, forget_failed_steps
from durable.store.sequels import announce_sequels, begin_sequels
from durable.store.sessions import limit_locks
from durable.store.settings import Shards, read_shards
from durable.store.statement import Batch, Begin, Commit, NoRow, Query, Requests, RunId, Statement, nothing, run_ids
from durable.store.successors import reopen_next


class _Parked(msgspec.Struct, frozen=True, gc=False):
    run_id: str
    wake_in: float | None


_FENCE_RUNS = Query("flush/fence_runs", RunId)
_SETTLE_RUNS = Query("flush/settle_runs", RunId)
_DROP_DEADLINES = Query("flush/drop_deadlines", NoRow)
_FORGET_OPEN_WAITS = Query("flush/forget_open_waits", NoRow)
_SHOW_ERRORS = Query("flush/show_errors", NoRow)
_SHOW_STATUSES = Query("flush/show_statuses", NoRow)
_PARK_RUNS = Query("flush/park_runs", _Parked)
_REQUEUE_PARKED_RUNS = Query("flush/requeue_parked_runs", RunId)
_REQUEUE_GATHERING_RUNS = Query("flush/requeue_gathering_runs", RunId)
_HOLD_RUNS = Query("flush/hold_runs", NoRow)
_REQUEUE_PAUSED_RUNS = Query("flush/requeue_paused_runs", RunId)
_REQUEUE_HELD_RUNS = Query("flush/requeue_held_runs", RunId)
_CONSUME_EVENTS = Query("flush/consume_events", NoRow)

_ByKind: TypeAlias = Mapping[type[Any], tuple[list[Record], list[Any]]]
"""What the records hold, by kind of entry: the entries, and beside each the record that it belongs to."""


@operation
def flush(
    shard_value: str,
    worker_id: str,
    records: Sequence[Record],
    *,
    is_repeat: bool,
    is_leaving: bool,
    lock_seconds: float | None = None,
) -> Requests[list[Written]]:
    """Writes the records; the answers are in the same order. Takes one round trip, and one more if other runs are
    involved or if it ``is_repeat``.

    ``is_repeat``: the records may have been written before, with only the answer lost. Since then other workers may
    have continued with what a run left behind, so the first question is which runs are still ours. ``is_leaving``: this
    worker is stopping, and the others are notified of everything that will wake. ``lock_seconds``: how long a statement
    waits for a lock; ``None`` leaves that to the connection.
    """
    in_order = sorted(records, key=attrgetter("run_id"))
    # Announced after the commit, where a notification needs no disk write. Inside the transaction, every other
    # transaction that notifies would queue behind it. Runs that may not be ours are announced too: if the answer to the
    # commit is lost, the next flush makes the announcement.
    by_kind = _by_kind(in_order)
    relatives = _Relatives(in_order, by_kind)
    then = [*_announcements(shard_value, in_order, by_kind, is_leaving=is_leaving), *relatives.announcements()]
    sent = [(record.run_id, memo) for record, memo in _of(PublishedMemo, by_kind)]
    learned = _Learned()
    opening: type[Batch] = Begin
    if lock_seconds is not None:
        yield from Begin([limit_locks(lock_seconds)])
        opening = Batch
    if is_repeat:
        (fenced,) = yield from opening([_of_runs(_FENCE_RUNS, shard_value, worker_id, in_order)])
        ours = frozenset(fenced)
        in_order = [record for record in in_order if record.run_id in ours]
        by_kind = _by_kind(in_order)
        opening = Batch
    parts = _Parts(shard_value, worker_id, in_order, by_kind)
    if relatives.are_there:
        learned.take(parts, (yield from opening(parts.statements)))
        statements = relatives.statements(shard_value, learned.ours)
        publishing = publish([one for one in sent if one[1].event_id in learned.recorded], learned.shards)
        then += announce_sent(sent, learned.shards)
        answers = yield from Commit([*statements, *publishing], then=then)
        learned.taken(sent, answers[len(statements) : len(statements) + len(publishing)])
    else:
        learned.take(parts, (yield from Commit(parts.statements, then=then)))
    return [learned.written(record) for record in records]


class _Parts:
    """The statements about these records. The statements whose answers matter have a name."""

    def __init__(self, shard_value: str, worker_id: str, records: Sequence[Record], by_kind: _ByKind) -> None:
        self.names: list[str] = []
        self.statements: list[Statement[Any]] = []
        self._shard_value = shard_value
        self._worker_id = worker_id
        staying = [record for record in records if not isinstance(record.ending, Settle)]
        settled = [record for record in records if is_settled(record)]
        continued = [record for record in records if isinstance(record.ending, NextChapter)]
        parked = [record for record in staying if isinstance(record.ending, Park) and not record.ending.held]
        held = [record for record in staying if isinstance(record.ending, Park) and record.ending.held]
        retried = [record for record in settled if isinstance(record.ending, Settle) and record.ending.is_retry]
        asking = [record for record in staying if record.wants_inbox and record.ending is None]
        self._add_runs("ours", _FENCE_RUNS, [*staying, *continued], run_ids)
        self._add_settled(settled)
        self._add_entries(by_kind)
        self._add_runs("", _DROP_DEADLINES, [record for record in records if record.is_cancelled], nothing)
        self._add_shown(_SHOW_ERRORS, "shown_error", [record for record in records if shows_error(record)])
        detailed = [record for record in records if record.status_detail is not None]
        self._add_shown(_SHOW_STATUSES, "status_detail", detailed)
        if retried:
            again = [RetriedRun(record.run_id, record.epoch, was_set_aside=False) for record in retried]
            forget = forget_failed_steps(shard_value, again)
            self._add("", complete_children(shard_value, [record.run_id for record in retried]))
            self._add("", forget)
        self._add_runs("", _FORGET_OPEN_WAITS, [record for record in settled if ends_waits(record)], nothing)
        self._add_runs("parked", _PARK_RUNS, parked, list)
        gathering = [record for record in parked if isinstance(record.ending, Park) and record.ending.gathered]
        waiting = parked if not gathering else [record for record in parked if record not in gathering]
        self._add_runs("requeued", _REQUEUE_PARKED_RUNS, waiting, run_ids)
        if gathering:
            self._add("requeued", _requeue_gathering(shard_value, gathering))
        self._add_held(held)
        self._add_runs("requeued", _REQUEUE_PAUSED_RUNS, [one for one in settled if one.ending == PAUSED], run_ids)
        keyed = [record.run_id for record in settled if record.is_keyed and has_ended(record)]
        if keyed:
            self._add("followed", reopen_next(shard_value, keyed))
        if continued:
            endings = [record.ending for record in continued if isinstance(record.ending, NextChapter)]
            self._add("", begin_chapters(_common(shard_value, worker_id, continued), endings))
        if asking:
            self._add("inbox", load_events(shard_value, [record.run_id for record in asking]))

    def _add(self, name: str, statement: Statement[Any]) -> None:
        self.names.append(name)
        self.statements.append(statement)

    def _add_runs(self, name: str, query: Query[Any], records: Sequence[Record], read: Any) -> None:
        if records:
            self._add(name, _of_runs(query, self._shard_value, self._worker_id, records, read))

    def _add_settled(self, settled: Sequence[Record]) -> None:
        endings = [record.ending for record in settled]
        fields = ("status", "output", "error", "failed_attempts", "set_asides", "wake_in")
        plurals = ("statuses", "outputs", "errors", "failed_attempts", "set_asides", "wake_ins")
        if settled:
            columns = {name: _column(field, endings) for name, field in zip(plurals, fields, strict=True)}
            common = _common(self._shard_value, self._worker_id, settled)
            self._add("ours", _SETTLE_RUNS.statement({**common, **columns}, run_ids))

    def _add_shown(self, query: Query[NoRow], field: str, records: Sequence[Record]) -> None:
        if records:
            common = _common(self._shard_value, self._worker_id, records)
            self._add("", query.statement({**common, "shown": _column(field, records)}, nothing))

    def _add_held(self, held: Sequence[Record]) -> None:
        if held:
            children = [column(record.ending.held) for record in held if isinstance(record.ending, Park)]
            common = _common(self._shard_value, self._worker_id, held)
            self._add("", _HOLD_RUNS.statement({**common, "children": column(children)}, nothing))
            self._add_runs("requeued", _REQUEUE_HELD_RUNS, held, run_ids)

    def _add_entries(self, by_kind: _ByKind) -> None:
        for kind, (query, fields) in ENTRIES.items():
            if kind in by_kind:
                owners, entries = by_kind[kind]
                columns = {name: _column(field, entries) for name, field in fields.items()}
                common = _common(self._shard_value, self._worker_id, owners)
                self._add("", query.statement({**common, **columns}, nothing))
            if kind is AnsweredWait:
                self._add_consumed(by_kind)
        if PublishedMemo in by_kind:
            owners, memos = by_kind[PublishedMemo]
            self._add("recorded", record_published(_common(self._shard_value, self._worker_id, owners), memos))
            if needs_shards(memos):
                self._add("shards", read_shards())

    def _add_consumed(self, by_kind: _ByKind) -> None:
        consumed = [
            *((owner, answer.key, answer.event_id) for owner, answer in _of(AnsweredWait, by_kind) if answer.event_id),
            *((owner, answer.key, also) for owner, answer in _of(AnsweredWait, by_kind) for also in answer.also),
            *((owner, "", request.event_id) for owner, request in _of(MetRequest, by_kind)),
        ]
        if consumed:
            columns = {
                "wait_keys": column([wait_key for _, wait_key, _ in consumed]),
                "event_ids": column([event_id for _, _, event_id in consumed]),
            }
            common = _common(self._shard_value, self._worker_id, [owner for owner, _, _ in consumed])
            self._add("", _CONSUME_EVENTS.statement({**common, **columns}, nothing))


class _Learned:
    """What the answers say about the runs."""

    def __init__(self) -> None:
        self.ours: set[str] = set()
        self._wakes: dict[str, float | None] = {}
        self._requeued: set[str] = set()
        self._followed: set[str] = set()
        self._inboxes: defaultdict[str, list[Event]] = defaultdict(list)
        self.recorded: set[str] = set()
        """The events that must now be sent."""
        self.shards: Shards | None = None
        self._unsent: defaultdict[str, list[str]] = defaultdict(list)

    def take(self, parts: _Parts, answers: Sequence[Any]) -> None:
        for name, answer in zip(parts.names, answers, strict=False):  # announcements are answered too
            match name:
                case "ours":
                    self.ours.update(answer)
                case "parked":
                    self._wakes.update((parked.run_id, parked.wake_in) for parked in answer)
                case "requeued":
                    self._requeued.update(answer)
                case "followed":
                    self._followed.update(answer)
                case "recorded":
                    self.recorded.update(answer)
                case "shards":
                    self.shards = answer
                case "inbox":
                    for event in answer:
                        self._inboxes[event.run_id].append(event)
                case _:
                    pass

    def taken(self, sent: Iterable[Sent], answers: Iterable[Sequence[str]]) -> None:
        """Notes which of the events that had to be sent were taken by no run."""
        unsent = self.recorded.difference(*answers)
        for sender, memo in sent:
            if memo.event_id in unsent:
                self._unsent[sender].append(str(memo))

    def written(self, record: Record) -> Written:
        if record.run_id not in self.ours:
            return Written(is_ours=False)
        is_asking = record.wants_inbox and record.ending is None
        return Written(
            is_ours=True,
            wake_in=self._wakes.get(record.run_id),
            requeued=record.run_id in self._requeued,
            inbox=tuple(self._inboxes[record.run_id]) if is_asking else None,
            is_followed=record.run_id in self._followed,
            unsent=tuple(self._unsent[record.run_id]) if record.run_id in self._unsent else (),
        )


class _Relatives:
    """The children that begin or are cancelled, the parents whose children end, the sequels of what ends, and whether
    anything is sent to other runs."""

    def __init__(self, records: Sequence[Record], by_kind: _ByKind) -> None:
        self._begun: list[tuple[Record, ChildMemo]] = list(_of(ChildMemo, by_kind))
        self._unwanted: list[tuple[Record, UnwantedChild]] = list(_of(UnwantedChild, by_kind))
        self._ended = [child for record in records if (child := child_that_ended(record)) is not None]
        self._sequels = [record.sequel for record in records if record.sequel is not None]
        self._is_publishing = PublishedMemo in by_kind

    @property
    def are_there(self) -> bool:
        return bool(self._begun or self._unwanted or self._ended or self._sequels or self._is_publishing)

    def statements(self, shard_value: str, ours: set[str]) -> list[Statement[None]]:
        """Returns what must be written about them, once it is known which runs are ours."""
        begun = [(record.run_id, child) for record, child in self._begun if record.run_id in ours]
        unwanted = [(record.run_id, child) for record, child in self._unwanted if record.run_id in ours]
        dismissed = [(parent, child.run_key) for parent, child in unwanted if not child.is_awaited]
        return [
            *begin_children(shard_value, begun),
            *dismiss_children(shard_value, dismissed),
            *cancel_children(shard_value, unwanted),
            *tell_parents(child for child in self._ended if child.run_id in ours),
            *begin_sequels(sequel for sequel in self._sequels if sequel.ended in ours),
        ]

    def announcements(self) -> list[Statement[None]]:
        begun = [child.run_key for _, child in self._begun]
        return [
            *announce_children(begun, [child.run_key for _, child in self._unwanted]),
            *announce_told(self._ended),
            *announce_sequels(self._sequels),
        ]


def _of_runs(
    query: Query[Any], shard_value: str, worker_id: str, records: Sequence[Record], read: Any = run_ids
) -> Statement[Any]:
    return query.statement(_common(shard_value, worker_id, records), read)


def _common(shard_value: str, worker_id: str, records: Sequence[Record]) -> dict[str, Any]:
    return {
        "shard_value": shard_value,
        "worker_id": worker_id,
        "run_ids": _column("run_id", records),
        "epochs": _column("epoch", records),
    }


def _requeue_gathering(shard_value: str, records: Sequence[Record]) -> Statement[list[str]]:
    gathered = [event_id for one in records if isinstance(one.ending, Park) for event_id in one.ending.gathered]
    params = {"shard_value": shard_value, "run_ids": _column("run_id", records), "gathered": column(gathered)}
    return _REQUEUE_GATHERING_RUNS.statement(params, run_ids)


def _column(field: str, values: Iterable[object]) -> str:
    return column(list(map(attrgetter(field), values)))


def _by_kind(records: Iterable[Record]) -> _ByKind:
    kinds: defaultdict[type[Any], tuple[list[Record], list[Any]]] = defaultdict(lambda: ([], []))
    for record in records:
        for entry in record.entries:
            owners, entries = kinds[type(entry)]
            owners.append(record)
            entries.append(entry)
    return kinds


def _of(kind: type[Any], by_kind: _ByKind) -> Iterable[tuple[Record, Any]]:
    return zip(*by_kind[kind], strict=True) if kind in by_kind else ()


def _announcements(
    shard_value: str, records: Sequence[Record], by_kind: _ByKind, *, is_leaving: bool
) -> list[Statement[None]]:
    ended = [record.run_id for record in records if has_ended(record)]
    ended.extend(reply.request_id for _, reply in _of(ReplyMemo, by_kind))
    are_for_others = any(is_for_others(record, is_leaving=is_leaving) for record in records)
    return [*announce_ended(ended), *([announce_runs_to_all(shard_value)] if are_for_others else [])]
