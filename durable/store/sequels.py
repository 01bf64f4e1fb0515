"""Sequels: runs that begin because another one has ended, in the transaction that ends it.

That transaction may be a flush, a takeover that fails the run as a crash loop, or the routing that ends a run which no
worker executes. What ends and what begins may lie under different shard values, so each statement is about one of the
two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import msgspec

from durable.core.runs import RunKey, Status
from durable.store.channels import announce_runs
from durable.store.columns import column
from durable.store.statement import NoRow, Query, Statement, nothing


class EndedRun(msgspec.Struct, frozen=True, gc=False):
    """A run that ends. ``error`` and ``input`` are encoded; ``input`` is ``None`` if it is too large to be passed on.
    ``request_id`` is the last request to end it that was made, if the database was asked."""

    run_id: str
    epoch: int
    status: Status
    error: str | None
    input: str | None
    tags: str | None
    headers: str | None
    is_scheduled: bool
    has_continued: bool
    parent_run_id: str | None
    request_id: str | None = None

    @property
    def cause(self) -> str:
        """Tells this end of the run from its other ends. A run that was never started has an epoch of 0 at each."""
        return str(self.epoch) if self.epoch > 0 else f"0:{self.request_id}"


class Sequel(msgspec.Struct, frozen=True, gc=False):
    """A run that begins when the run ``ended`` ends, which is given by its id. ``input``, ``tags`` and ``headers`` are
    encoded, ``timeout`` is in seconds."""

    ended: str
    run_key: RunKey
    version: int
    timeout: float | None
    input: str
    tags: str | None
    headers: str | None


SequelOf: TypeAlias = Callable[[EndedRun], Sequel | None]
"""Returns what begins because that run has ended, ``None`` if nothing does."""

_ENDED_RUNS = Query("sequels/ended_runs", EndedRun)
_BEGIN_SEQUELS = Query("sequels/begin_sequels", NoRow)


def ended_runs(shard_value: str, run_ids: Sequence[str]) -> Statement[Sequence[EndedRun]]:
    """Reads runs that this transaction has ended."""
    return _ENDED_RUNS.statement({"shard_value": shard_value, "run_ids": column(run_ids)}, lambda rows: rows)


def sequels_of(ended: Iterable[EndedRun], sequel_of: SequelOf) -> list[Sequel]:
    """Returns what begins because these runs have ended."""
    return [sequel for one in ended if (sequel := sequel_of(one)) is not None]


def begin_sequels(sequels: Iterable[Sequel]) -> list[Statement[None]]:
    """Inserts them."""
    return [
        _BEGIN_SEQUELS.statement(
            {
                "shard_value": shard_value,
                "run_ids": column([sequel.run_key.run_id for sequel in group]),
                "workflow_names": column([sequel.run_key.workflow_name for sequel in group]),
                "versions": column([sequel.version for sequel in group]),
                "timeouts": column([sequel.timeout for sequel in group]),
                "tags": column([sequel.tags for sequel in group]),
                "headers": column([sequel.headers for sequel in group]),
                "inputs": column([sequel.input for sequel in group]),
            },
            nothing,
        )
        for shard_value, group in _by_shard(sequels)
    ]


def announce_sequels(sequels: Iterable[Sequel]) -> list[Statement[None]]:
    """Announces them."""
    return [announce_runs(shard_value) for shard_value, _ in _by_shard(sequels)]


def _by_shard(sequels: Iterable[Sequel]) -> list[tuple[str, list[Sequel]]]:
    groups: dict[str, list[Sequel]] = {}
    for sequel in sorted(sequels, key=lambda sequel: sequel.run_key):
        groups.setdefault(sequel.run_key.workflow_name_shard, []).append(sequel)
    return list(groups.items())
