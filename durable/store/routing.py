"""Events on their way to runs, and ended runs that are to be retried."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable.store.children import EndedChild, ended_child, parent_key
from durable.store.columns import column
from durable.store.queries import query
from durable.store.records import Event
from durable.store.statement import Row, Statement, nothing


class Routed(msgspec.Struct, frozen=True):
    """What a pass of routing did: what is for runs that this worker executes now, how many parked runs woke, and the
    ids of the runs that it ended, with those of them whose parents are to be told in the same transaction."""

    live: tuple[Event, ...]
    woken: int
    ended: tuple[str, ...]
    children: tuple[EndedChild, ...]


class Unrouted(msgspec.Struct, frozen=True):
    """What routing has left: events and requests of runs that were locked, and runs to be retried."""

    is_more: bool
    is_retry: bool


def route_events(schema: str, shard_value: str, worker_id: str, limit: int) -> Statement[Routed]:
    """Turns up to ``limit`` committed events of one shard value into wakes. ``tell_parents`` follows in the same
    transaction."""

    def read(rows: Sequence[Row]) -> Routed:
        if not rows:
            return Routed((), 0, (), ())
        live = tuple(Event(*row[:5]) for row in rows if row[5])
        woken, ended, *columns = rows[0][6:]
        children = tuple(
            ended_child(parent, run_id, "cancelled", error=error)
            for run_id, error, *key in zip(ended or (), *(column or () for column in columns), strict=True)
            if (parent := parent_key(*key)) is not None
        )
        return Routed(live, woken, tuple(ended or ()), children)

    return Statement(
        query("routing/route_events", schema),
        {"shard_value": shard_value, "worker_id": worker_id, "limit": limit},
        read,
    )


def unrouted_events(schema: str, shard_value: str, worker_id: str) -> Statement[Unrouted]:
    """What is left that this worker could do."""
    return Statement(
        query("routing/unrouted_events", schema),
        {"shard_value": shard_value, "worker_id": worker_id},
        lambda rows: Unrouted(*rows[0]),
    )


def retry_runs(schema: str, shard_value: str, limit: int) -> Statement[list[tuple[str, int]]]:
    """Queues ended runs that are to be retried. Returns their ids and epochs; ``forget_failed_steps`` follows in the
    same transaction."""
    return Statement(
        query("routing/retry_runs", schema),
        {"shard_value": shard_value, "limit": limit},
        lambda rows: [(row[0], row[1]) for row in rows],
    )


def forget_failed_steps(schema: str, shard_value: str, runs: Sequence[tuple[str, int]]) -> Statement[None]:
    """Lets these runs (id and epoch), whose rows are locked, try again what failed."""
    return Statement(
        query("routing/forget_failed_steps", schema),
        {
            "shard_value": shard_value,
            "run_ids": column([run[0] for run in runs]),
            "epochs": column([run[1] for run in runs]),
        },
        nothing,
    )
