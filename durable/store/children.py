"""What passes between a run and its children: their beginning, their cancel, and the word of their end.

Both may lie under different shard values, so each statement is for one of them; the transaction is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from durable.core.failures import ErrorInfo
from durable.core.replay.history import ChildEnd
from durable.core.runs import RunKey
from durable.store.channels import announce_event, announce_runs
from durable.store.columns import column
from durable.store.queries import query
from durable.store.records import NewChild
from durable.store.statement import Statement, T, nothing


class EndedChild(msgspec.Struct, frozen=True):
    """A child that has ended, and who is to be told. ``end`` is an encoded ``ChildEnd``."""

    parent: RunKey
    run_id: str
    end: str


def ended_child(
    parent: RunKey,
    run_id: str,
    status: Literal["completed", "failed", "cancelled"],
    *,
    output: str | None = None,
    error: str | None = None,
) -> EndedChild:
    """``output`` and ``error`` are encoded."""
    end = ChildEnd(
        status,
        msgspec.UNSET if output is None else msgspec.Raw(output.encode()),
        None if error is None else msgspec.json.decode(error, type=ErrorInfo),
    )
    return EndedChild(parent, run_id, end.text)


def begin_children(schema: str, parent_shard: str, children: Sequence[tuple[str, NewChild]]) -> list[Statement[None]]:
    """Inserts children, each with the id of its parent."""
    return [
        Statement(
            query("children/begin_children", schema),
            {
                "shard_value": shard_value,
                "parent_shard": parent_shard,
                "run_ids": column([child.run_key.run_id for _, child in group]),
                "workflow_names": column([child.workflow_name for _, child in group]),
                "versions": column([child.version for _, child in group]),
                "timeouts": column([child.timeout for _, child in group]),
                "inputs": column([child.input for _, child in group]),
                "parent_run_ids": column([parent for parent, _ in group]),
            },
            nothing,
        )
        for shard_value, group in _by_shard(children, lambda item: item[1].run_key)
    ]


def cancel_children(schema: str, parent_shard: str, unwanted: Sequence[tuple[str, RunKey]]) -> list[Statement[None]]:
    """Asks children to cancel, each named with the id of its parent, and notes in the parents' inboxes that it did."""
    if not unwanted:
        return []
    end = ChildEnd("cancelled", error=ErrorInfo("RunCancelled", "its parent has asked for it"))
    dismissed = Statement(
        query("children/dismiss_children", schema),
        {
            "shard_value": parent_shard,
            "run_ids": column([parent for parent, _ in unwanted]),
            "child_ids": column([child.run_id for _, child in unwanted]),
            "end": end.text,
        },
        nothing,
    )
    requests = [
        Statement(
            query("children/cancel_children", schema),
            {
                "shard_value": shard_value,
                "run_ids": column([child.run_id for _, child in group]),
                "parent_run_ids": column([parent for parent, _ in group]),
                "reasons": column([_reason(RunKey(parent_shard, parent)) for parent, _ in group]),
            },
            nothing,
        )
        for shard_value, group in _by_shard(unwanted, lambda item: item[1])
    ]
    return [dismissed, *requests]


def _reason(parent: RunKey) -> str:
    return msgspec.json.encode(f"its parent {parent} waits for it no longer").decode()


def tell_parents(schema: str, ended: Iterable[EndedChild]) -> list[Statement[None]]:
    """Puts the ends into the inboxes of the parents."""
    return [
        Statement(
            query("children/tell_parents", schema),
            {
                "shard_value": shard_value,
                "run_ids": column([child.parent.run_id for child in group]),
                "child_ids": column([child.run_id for child in group]),
                "payloads": column([child.end for child in group]),
            },
            nothing,
        )
        for shard_value, group in _by_shard(ended, lambda child: child.parent)
    ]


def announce_told(schema: str, ended: Iterable[EndedChild]) -> list[Statement[None]]:
    """Tells the workers of the parents that were told."""
    return [announce_event(schema, shard_value) for shard_value, _ in _by_shard(ended, lambda child: child.parent)]


def announce_family(schema: str, children: Iterable[NewChild], unwanted: Iterable[RunKey]) -> list[Statement[None]]:
    """Tells the workers of children that were begun or asked to cancel."""
    begun = [announce_runs(schema, shard_value) for shard_value, _ in _by_shard(children, lambda child: child.run_key)]
    return [*begun, *(announce_event(schema, shard_value) for shard_value, _ in _by_shard(unwanted, lambda key: key))]


def _by_shard(items: Iterable[T], key: Callable[[T], RunKey]) -> list[tuple[str, list[T]]]:
    groups: dict[str, list[T]] = {}
    for item in sorted(items, key=key):
        groups.setdefault(key(item).workflow_name_shard, []).append(item)
    return list(groups.items())


def parent_key(shard_value: str | None, run_id: str | None) -> RunKey | None:
    return None if shard_value is None or run_id is None else RunKey(shard_value, run_id)
