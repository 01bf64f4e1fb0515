"""Runs whose worker is lost."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable.core.failures import ErrorInfo
from durable.store.channels import announce_ended, announce_runs
from durable.store.children import EndedChild, announce_told, ended_child, parent_key
from durable.store.columns import column
from durable.store.queries import query
from durable.store.statement import Row, Statement


class TakenOver(msgspec.Struct, frozen=True):
    """What became of the runs of one shard value that their worker has lost: their ids by their new status. Parents of
    ``children``, which failed, are to be told in the same transaction."""

    shard_value: str
    queued: tuple[str, ...]
    failed: tuple[str, ...]
    children: tuple[EndedChild, ...]


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
            if (parent := parent_key(*key)) is not None
        )
        queued = tuple(row[0] for row in rows if row[1] == "queued")
        return TakenOver(shard_value, queued, tuple(row[0] for row in failed), children)

    return Statement(
        query("takeovers/take_over_runs", schema),
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


def announce_taken_over(schema: str, taken: TakenOver) -> list[Statement[None]]:
    """Tells the workers of the runs that are free again, and those who wait of the runs that failed, parents too."""
    freed = [announce_runs(schema, taken.shard_value)] if taken.queued else []
    return [*announce_ended(schema, taken.failed), *announce_told(schema, taken.children), *freed]


def owns_runs(schema: str, shard_value: str, owner: str) -> Statement[bool]:
    """Whether runs of that worker are left."""
    return Statement(
        query("takeovers/owns_runs", schema),
        {"shard_value": shard_value, "owner": owner},
        lambda rows: bool(rows[0][0]),
    )


def orphan_owners(schema: str, shard_value: str) -> Statement[list[str]]:
    """Owners of running runs that no row in ``workers`` stands for."""
    return Statement(
        query("takeovers/orphan_owners", schema),
        {"shard_value": shard_value},
        lambda rows: [str(row[0]) for row in rows],
    )
