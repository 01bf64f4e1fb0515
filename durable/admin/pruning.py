"""Retention: deletes runs that ended long ago, with everything that belongs to them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from psycopg import Connection

from durable.admin.owner import act_as_owner, connect
from durable.core.durations import Duration, seconds
from durable.core.keys import check_key
from durable.core.replay.workflow import Workflow
from durable.core.shards import shard_values
from durable.postgres.conninfo import check_conninfo
from durable.postgres.drive import run
from durable.store import retention
from durable.store.children import complete_children
from durable.store.operation import Operation, operation
from durable.store.queries import check_schema_name
from durable.store.retention import OldRun
from durable.store.settings import read_settings
from durable.store.statement import Requests, T

_MAX_RUNS = 1000
"""Runs in one transaction. This bounds its locks, and the work that is lost if it is interrupted."""
_FIRST_ID = "00000000-0000-0000-0000-000000000000"


class _Page(msgspec.Struct, frozen=True):
    """``spared`` is the number of runs that stay only because their parent does, or an earlier run with their key;
    ``last`` is where the next page begins, ``None`` if there is none."""

    deleted: int
    spared: int
    last: str | None


def prune(
    conninfo: str, *, older_than: Duration, workflow: Workflow[Any, Any] | str | None = None, schema: str = "durable"
) -> int:
    """Deletes the runs that ended more than ``older_than`` ago (in seconds or as a ``timedelta``), together with their
    memos, waits and events. ``workflow`` restricts this to one workflow; ``None`` means all. Returns how many runs were
    deleted.

    A child stays as long as its parent does, and a parent stays as long as one of its children has not ended that long
    ago; once both may go, one call deletes both. Of the runs with one key, a later one stays as long as an earlier one
    does. A run that is being retried stays. Asking for a deleted run raises
    ``RunNotFound``; the key that it was begun with then begins a new run, and so does ``backfill_schedule`` for its
    tick.

    Goes through the tables in pages of 1,000 runs, each in a transaction of its own. It can therefore be interrupted
    and started again at any time, and can run several times at once, alongside workers and clients. Acts as the owner
    of the schema, because the roles of workers and clients may not delete runs.

    Raises ``InvalidArgument``; ``SchemaError`` if the schema is missing or older than this code; and psycopg's errors,
    for example if a foreign key in one of your own tables refers to a run.
    """
    check_conninfo("conninfo", conninfo)
    schema = check_schema_name(schema)
    age = seconds("older_than", older_than)
    name = workflow.name if isinstance(workflow, Workflow) else workflow
    if name is not None:
        name = check_key("workflow", name)
    deleted = 0
    began = time.monotonic()
    with connect(conninfo) as connection:
        while True:
            # What comes of age meanwhile is left for the next call: on a busy database there would be no end.
            pages = list(_pages(connection, schema, age + time.monotonic() - began, name))
            gone = sum(page.deleted for page in pages)
            deleted += gone
            if not gone or not any(page.spared for page in pages):  # otherwise parents have gone, so their children may
                return deleted


def _pages(connection: Connection[Any], schema: str, age: float, name: str | None) -> Iterator[_Page]:
    for shard_value in _shard_values(connection, schema, name):
        _as_owner(connection, schema, retention.delete_orphans(shard_value))
        last: str | None = _FIRST_ID
        while last is not None:
            page = _as_owner(connection, schema, _prune_page(shard_value, age, last))
            yield page
            last = page.last


def _shard_values(connection: Connection[Any], schema: str, name: str | None) -> Iterator[str]:
    settings = _as_owner(connection, schema, read_settings())
    if name is not None:
        yield from shard_values(name, settings.shard_count)
        return
    shard_value: str | None = ""
    while shard_value is not None:
        shard_value = _as_owner(connection, schema, retention.next_shard_value(shard_value))
        if shard_value is not None:
            yield shard_value


def _as_owner(connection: Connection[Any], schema: str, operation: Operation[T]) -> T:
    with connection.transaction():
        act_as_owner(connection, schema)
        return run(connection, schema, operation)


@operation
def _prune_page(shard_value: str, age: float, after: str) -> Requests[_Page]:
    page = yield from retention.find_old_runs(shard_value, age, after=after, limit=_MAX_RUNS)
    page_ids = [old.run_id for old in page.old]
    older: list[OldRun] = []
    if page_ids:  # which go together with them, wherever their ids are
        older = yield from retention.find_older_generations(shard_value, age, page_ids, limit=_MAX_RUNS)
    kept = yield from _with_parents([*page.old, *older])
    run_ids = [old.run_id for old in (*page.old, *older) if old.run_id not in kept]
    with_children = yield from _with_young_children(shard_value, age, run_ids)
    run_ids = [run_id for run_id in run_ids if run_id not in with_children]
    deleted = (yield from retention.delete_runs(shard_value, age, run_ids)) if run_ids else 0
    is_crowded = len(older) == _MAX_RUNS
    return _Page(deleted, len(kept) + is_crowded, page.last)


def _with_parents(runs: Sequence[OldRun]) -> Requests[set[str]]:
    children: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for child in runs:
        if child.parent is not None:
            children[child.parent.workflow_name_shard][child.parent.run_id].append(child.run_id)
    kept: set[str] = set()
    for shard_value, by_parent in children.items():
        parents = yield from retention.find_kept_parents(shard_value, list(by_parent))
        kept.update(child for parent in parents for child in by_parent[parent])
    return kept


def _with_young_children(shard_value: str, age: float, run_ids: Sequence[str]) -> Requests[set[str]]:
    if not run_ids:
        return set()
    parents: defaultdict[str, dict[str, str]] = defaultdict(dict)
    yield from complete_children(shard_value, run_ids)
    for run_id, child in (yield from retention.find_children(shard_value, run_ids)):
        parents[child.workflow_name_shard][child.run_id] = run_id
    kept: set[str] = set()
    for child_shard, by_child in parents.items():
        young = yield from retention.find_young_runs(child_shard, age, list(by_child))
        kept.update(by_child[child] for child in young)
    return kept
