"""What passes between a run and its children: that they begin, that they must be cancelled, and how they ended.

Parent and child may lie under different shard values, so each statement is about one of the two. The transaction
belongs to the caller.
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
from durable.store.ids import cancel_id
from durable.store.records import ChildMemo, UnwantedChild
from durable.store.statement import NoRow, Query, Statement, T, nothing

_BEGIN_CHILDREN = Query("children/begin_children", NoRow)
_DISMISS_CHILDREN = Query("children/dismiss_children", NoRow)
_CANCEL_CHILDREN = Query("children/cancel_children", NoRow)
_COMPLETE_CHILDREN = Query("children/complete_children", NoRow)
_TELL_PARENTS = Query("children/tell_parents", NoRow)


class EndedChild(msgspec.Struct, frozen=True):
    """A child that has ended, and the parent that must be notified. ``end`` is an encoded ``ChildEnd``."""

    parent: RunKey
    run_id: str
    status: Literal["completed", "failed", "cancelled"]
    end: str


def ended_child(
    parent: RunKey,
    run_id: str,
    status: Literal["completed", "failed", "cancelled"],
    *,
    output: str | None = None,
    error: str | None = None,
) -> EndedChild:
    """Returns a child that ended with this output or error, both encoded."""
    end = ChildEnd(
        status,
        msgspec.UNSET if output is None else msgspec.Raw(output.encode()),
        None if error is None else msgspec.json.decode(error, type=ErrorInfo),
    )
    return EndedChild(parent, run_id, status, end.text)


def begin_children(parent_shard: str, children: Sequence[tuple[str, ChildMemo]]) -> list[Statement[None]]:
    """Inserts children, each given with the id of its parent."""
    return [
        _BEGIN_CHILDREN.statement(
            {
                "shard_value": shard_value,
                "parent_shard": parent_shard,
                "run_ids": column([child.child_run_id for _, child in group]),
                "workflow_names": column([child.workflow_name for _, child in group]),
                "versions": column([child.version for _, child in group]),
                "priorities": column([child.options.priority for _, child in group]),
                "delays": column([child.options.delay for _, child in group]),
                "ats": column([child.options.at for _, child in group]),
                "timeouts": column([child.options.timeout for _, child in group]),
                "tags": column([child.options.tags for _, child in group]),
                "headers": column([child.options.headers for _, child in group]),
                "inputs": column([child.input for _, child in group]),
                "parent_run_ids": column([parent for parent, _ in group]),
            },
            nothing,
        )
        for shard_value, group in _by_shard(children, lambda item: item[1].run_key)
    ]


def cancel_children(parent_shard: str, unwanted: Sequence[tuple[str, UnwantedChild]]) -> list[Statement[None]]:
    """Asks children to cancel, each given with the id of its parent."""
    return [
        _CANCEL_CHILDREN.statement(
            {
                "shard_value": shard_value,
                "run_ids": column([child.run_key.run_id for _, child in group]),
                "parent_run_ids": column([parent for parent, _ in group]),
                "request_ids": column([cancel_id(parent, child.run_key.run_id) for parent, child in group]),
                "reasons": column([_reason(RunKey(parent_shard, parent), child) for parent, child in group]),
            },
            nothing,
        )
        for shard_value, group in _by_shard(unwanted, lambda item: item[1].run_key)
    ]


def dismiss_children(parent_shard: str, unwanted: Sequence[tuple[str, RunKey]]) -> list[Statement[None]]:
    """Records in the inboxes of parents that children were cancelled, each given with the id of its parent. Not of
    children whose end the parent may still wait for: this would be taken for it."""
    if not unwanted:
        return []
    end = ChildEnd("cancelled", error=ErrorInfo("RunCancelled", "its parent cancelled it"))
    return [
        _DISMISS_CHILDREN.statement(
            {
                "shard_value": parent_shard,
                "run_ids": column([parent for parent, _ in unwanted]),
                "child_ids": column([child.run_id for _, child in unwanted]),
                "end": end.text,
            },
            nothing,
        )
    ]


def _reason(parent: RunKey, child: UnwantedChild) -> str:
    why = "cancels it" if child.is_awaited else "no longer waits for it"
    return msgspec.json.encode(f"its parent {parent} {why}").decode()


def tell_parents(ended: Iterable[EndedChild]) -> list[Statement[None]]:
    """Puts the ends of children into the inboxes of their parents."""
    return [
        _TELL_PARENTS.statement(
            {
                "shard_value": shard_value,
                "run_ids": column([child.parent.run_id for child in group]),
                "child_ids": column([child.run_id for child in group]),
                "statuses": column([child.status for child in group]),
                "payloads": column([child.end for child in group]),
            },
            nothing,
        )
        for shard_value, group in _by_shard(ended, lambda child: child.parent)
    ]


def complete_children(shard_value: str, parents: Sequence[str]) -> Statement[None]:
    """Fills the columns about children that workers of version 4 of the schema leave empty, of these runs."""
    return _COMPLETE_CHILDREN.statement({"shard_value": shard_value, "run_ids": column(parents)}, nothing)


def announce_told(ended: Iterable[EndedChild]) -> list[Statement[None]]:
    """Announces the events of the parents that were notified."""
    return [announce_event(shard_value) for shard_value, _ in _by_shard(ended, lambda child: child.parent)]


def announce_children(begun: Iterable[RunKey], unwanted: Iterable[RunKey]) -> list[Statement[None]]:
    """Announces children that were begun, and those that were asked to cancel."""
    return [
        *(announce_runs(shard_value) for shard_value, _ in _by_shard(begun, lambda key: key)),
        *(announce_event(shard_value) for shard_value, _ in _by_shard(unwanted, lambda key: key)),
    ]


def _by_shard(items: Iterable[T], key: Callable[[T], RunKey]) -> list[tuple[str, list[T]]]:
    groups: dict[str, list[T]] = {}
    for item in sorted(items, key=key):
        groups.setdefault(key(item).workflow_name_shard, []).append(item)
    return list(groups.items())
