"""Events that runs send to other runs. The transaction belongs to the caller: it is the one that stores their memos.

The two runs may lie under different shard values, so each statement is about one of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from durable.core.replay.targets import Keyed
from durable.core.runs import RunKey
from durable.core.shards import shard_value
from durable.store.channels import announce_event
from durable.store.columns import column
from durable.store.records import PublishedMemo
from durable.store.settings import Shards
from durable.store.statement import Query, Statement


class EventId(msgspec.Struct, frozen=True, gc=False):
    """The row of statements that return the events they are about."""

    event_id: str


Sent: TypeAlias = tuple[str, PublishedMemo]
"""An event with the id of the run that sends it."""

_RECORD_PUBLISHED = Query("flush/record_published", EventId)
_PUBLISH_TO_RUNS = Query("publishing/publish_to_runs", EventId)
_PUBLISH_TO_KEYS = Query("publishing/publish_to_keys", EventId)


def record_published(common: Mapping[str, Any], memos: Sequence[PublishedMemo]) -> Statement[list[str]]:
    """Stores the memos; answers with the events that must now be sent."""
    columns = {
        "step_keys": column([memo.key for memo in memos]),
        "seqs": column([memo.seq for memo in memos]),
        "fns": column([memo.event_name for memo in memos]),
        "outputs": column([memo.output for memo in memos]),
        "ats": column([memo.at for memo in memos]),
    }
    return _RECORD_PUBLISHED.statement({**common, **columns}, event_ids)


def publish(sent: Iterable[Sent], shards: Shards | None) -> list[Statement[list[str]]]:
    """Puts the events into the inboxes of the runs that they are for. The answers are those that were taken: an event
    for a run that does not exist, or has ended, is not. ``shards`` is needed if a run is named by its key."""
    by_shard = _by_shard(sent, shards)
    return [
        _statement(shard, kind, by_shard[shard, kind])
        for shard, kind in sorted(by_shard, key=lambda place: (place[0], place[1].__name__))
    ]


def announce_sent(sent: Iterable[Sent], shards: Shards | None) -> list[Statement[None]]:
    """Announces the events wherever they may be now."""
    return [announce_event(shard) for shard in sorted({shard for shard, _ in _by_shard(sent, shards)})]


def needs_shards(sent: Iterable[PublishedMemo]) -> bool:
    """Returns whether it must be known which shard counts there were."""
    return any(isinstance(memo.target, Keyed) for memo in sent)


def event_ids(rows: Sequence[EventId]) -> list[str]:
    """Reads the answer of such a statement."""
    return [row.event_id for row in rows]


def _by_shard(sent: Iterable[Sent], shards: Shards | None) -> dict[tuple[str, type[RunKey | Keyed]], list[Sent]]:
    groups: dict[tuple[str, type[RunKey | Keyed]], list[Sent]] = {}
    for one in sent:
        target = one[1].target
        for shard in _shard_values(target, shards):
            groups.setdefault((shard, type(target)), []).append(one)
    return groups


def _shard_values(target: RunKey | Keyed, shards: Shards | None) -> set[str]:
    """Returns the shard values under which the run may lie. There are runs of a key under one of them only."""
    if isinstance(target, RunKey):
        return {target.workflow_name_shard}
    counts = shards.known if shards is not None else ()
    return {shard_value(target.workflow_name, target.first_id, count) for count in counts}


def _statement(shard: str, kind: type[RunKey | Keyed], sent: Sequence[Sent]) -> Statement[list[str]]:
    memos = [memo for _, memo in sent]
    params = {
        "shard_value": shard,
        "event_ids": column([memo.event_id for memo in memos]),
        "names": column([memo.event_name for memo in memos]),
        "payloads": column([memo.payload for memo in memos]),
        "sender_run_ids": column([sender for sender, _ in sent]),
    }
    targets = [memo.target for memo in memos]
    if kind is RunKey:
        return _PUBLISH_TO_RUNS.statement({**params, "run_ids": _column("run_id", targets)}, event_ids)
    return _PUBLISH_TO_KEYS.statement({**params, "keys": _column("key", targets)}, event_ids)


def _column(field: str, targets: Iterable[RunKey | Keyed]) -> str:
    return column(list(map(attrgetter(field), targets)))
