"""Runs that ended long ago, and their deletion. Each statement is about one shard value; ages are in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable.core.runs import RunKey
from durable.store.columns import column
from durable.store.statement import NoRow, Query, RunId, Statement, nothing, one, run_ids


class OldRun(msgspec.Struct, frozen=True):
    """A run that has ended; ``parent`` is ``None`` for a run that the application or a schedule began."""

    run_id: str
    parent: RunKey | None


class Page(msgspec.Struct, frozen=True):
    """The runs of a page that ended long enough ago. ``last`` is where the next page begins, ``None`` on the last
    page."""

    old: tuple[OldRun, ...]
    last: str | None


class _OldRunRow(msgspec.Struct, frozen=True):
    run_id: str
    parent_shard: str | None
    parent_run_id: str | None
    is_old: bool
    is_last_of_full_page: bool


class _OlderRow(msgspec.Struct, frozen=True):
    run_id: str
    parent_shard: str | None
    parent_run_id: str | None


class _ShardValue(msgspec.Struct, frozen=True):
    shard_value: str | None


class _ChildRow(msgspec.Struct, frozen=True):
    run_id: str
    child_shard: str
    child_run_id: str


_NEXT_SHARD_VALUE = Query("retention/next_shard_value", _ShardValue)
_FIND_OLD_RUNS = Query("retention/find_old_runs", _OldRunRow)
_FIND_OLDER_GENERATIONS = Query("retention/find_older_generations", _OlderRow)
_FIND_KEPT_PARENTS = Query("retention/find_kept_parents", RunId)
_FIND_CHILDREN = Query("retention/find_children", _ChildRow)
_FIND_YOUNG_RUNS = Query("retention/find_young_runs", RunId)
_DELETE_RUNS = Query("retention/delete_runs", RunId)
_DELETE_ORPHANS = Query("retention/delete_orphans", NoRow)


def next_shard_value(after: str) -> Statement[str | None]:
    """Reads the first shard value after ``after`` under which anything is stored, ``None`` if there is none."""
    return _NEXT_SHARD_VALUE.statement({"after": after}, lambda rows: one(rows).shard_value)


def find_old_runs(shard_value: str, age: float, *, after: str, limit: int) -> Statement[Page]:
    """Reads which of the next ``limit`` runs, in the order of their ids, ended at least ``age`` seconds ago."""
    params = {"shard_value": shard_value, "age": age, "after": after, "limit": limit}
    return _FIND_OLD_RUNS.statement(params, _page)


def find_older_generations(shard_value: str, age: float, runs: Sequence[str], *, limit: int) -> Statement[list[OldRun]]:
    """Reads up to ``limit`` runs that were begun before these with the same keys, and that ended at least ``age``
    seconds ago."""
    params = {"shard_value": shard_value, "age": age, "run_ids": column(runs), "limit": limit}
    return _FIND_OLDER_GENERATIONS.statement(params, lambda rows: [_old(row) for row in rows])


def find_kept_parents(shard_value: str, parents: Sequence[str]) -> Statement[list[str]]:
    """Reads which of these runs still exist."""
    return _FIND_KEPT_PARENTS.statement({"shard_value": shard_value, "run_ids": column(parents)}, run_ids)


def find_children(shard_value: str, parents: Sequence[str]) -> Statement[list[tuple[str, RunKey]]]:
    """Reads the children of these runs, each with the id of its parent."""
    return _FIND_CHILDREN.statement(
        {"shard_value": shard_value, "run_ids": column(parents)},
        lambda rows: [(row.run_id, RunKey(row.child_shard, row.child_run_id)) for row in rows],
    )


def find_young_runs(shard_value: str, age: float, runs: Sequence[str]) -> Statement[list[str]]:
    """Reads which of these runs have not ended, or ended less than ``age`` seconds ago."""
    return _FIND_YOUNG_RUNS.statement({"shard_value": shard_value, "age": age, "run_ids": column(runs)}, run_ids)


def delete_runs(shard_value: str, age: float, runs: Sequence[str]) -> Statement[int]:
    """Deletes the runs that ended at least ``age`` seconds ago, with everything that belongs to them; answers how many
    it deleted."""
    return _DELETE_RUNS.statement({"shard_value": shard_value, "age": age, "run_ids": column(runs)}, len)


def delete_orphans(shard_value: str) -> Statement[None]:
    """Deletes events that were committed after their run had been deleted, and lets runs start that wait for the end of
    such a run."""
    return _DELETE_ORPHANS.statement({"shard_value": shard_value}, nothing)


def _page(rows: Sequence[_OldRunRow]) -> Page:
    old = tuple(_old(row) for row in rows if row.is_old)
    return Page(old, rows[-1].run_id if rows and rows[-1].is_last_of_full_page else None)


def _old(row: _OldRunRow | _OlderRow) -> OldRun:
    return OldRun(row.run_id, None if row.parent_shard is None else RunKey(row.parent_shard, row.parent_run_id or ""))
