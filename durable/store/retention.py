"""What has ended long ago, and its end. Each statement is about one shard value, all ages are in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable.core.replay.commands import StartChild
from durable.core.runs import RunKey
from durable.store.columns import column
from durable.store.queries import query
from durable.store.statement import Row, Statement, nothing


class OldRun(msgspec.Struct, frozen=True):
    """A run that has ended; ``parent`` is ``None`` for one that the application or a schedule began."""

    run_id: str
    parent: RunKey | None


class Page(msgspec.Struct, frozen=True):
    """``last`` is where the next page begins, ``None`` after the last one."""

    old: tuple[OldRun, ...]
    last: str | None


def next_shard_value(schema: str, after: str) -> Statement[str | None]:
    """The first one after that under which there is anything."""
    return Statement(query("retention/next_shard_value", schema), {"after": after}, lambda rows: rows[0][0])


def find_old_runs(schema: str, shard_value: str, age: float, *, after: str, limit: int) -> Statement[Page]:
    """Of so many runs, in the order of their ids, those that ended so long ago."""
    params = {"shard_value": shard_value, "age": age, "after": after, "limit": limit}
    return Statement(query("retention/find_old_runs", schema), params, _page)


def find_kept_parents(schema: str, shard_value: str, run_ids: Sequence[str]) -> Statement[set[str]]:
    """Which of them there are."""
    params = {"shard_value": shard_value, "run_ids": column(run_ids)}
    return Statement(query("retention/find_kept_parents", schema), params, _ids)


def find_children(schema: str, shard_value: str, run_ids: Sequence[str]) -> Statement[list[tuple[str, RunKey]]]:
    """Their children, each with the id of its parent."""
    params = {"shard_value": shard_value, "run_ids": column(run_ids)}
    return Statement(
        query("retention/find_children", schema),
        params,
        lambda rows: [(row[0], StartChild.begun(row[1])) for row in rows],
    )


def find_young_runs(schema: str, shard_value: str, age: float, run_ids: Sequence[str]) -> Statement[set[str]]:
    """Which of them have not ended so long ago."""
    params = {"shard_value": shard_value, "age": age, "run_ids": column(run_ids)}
    return Statement(query("retention/find_young_runs", schema), params, _ids)


def delete_runs(schema: str, shard_value: str, age: float, run_ids: Sequence[str]) -> Statement[int]:
    """Deletes them with all that is theirs, where they have ended so long ago. How many they were."""
    params = {"shard_value": shard_value, "age": age, "run_ids": column(run_ids)}
    return Statement(query("retention/delete_runs", schema), params, len)


def delete_orphans(schema: str, shard_value: str) -> Statement[None]:
    """Deletes events whose run was deleted before they were committed."""
    return Statement(query("retention/delete_orphans", schema), {"shard_value": shard_value}, nothing)


def _ids(rows: Sequence[Row]) -> set[str]:
    return {row[0] for row in rows}


def _page(rows: Sequence[Row]) -> Page:
    old = tuple(
        OldRun(run_id, None if parent_shard is None else RunKey(parent_shard, parent_run_id))
        for run_id, parent_shard, parent_run_id, is_old, _ in rows
        if is_old
    )
    return Page(old, rows[-1][0] if rows and rows[-1][4] else None)
