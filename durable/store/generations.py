"""The runs of one key, one after the other, as a client finds and begins them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable.core.generations import BeginGeneration, Newest
from durable.core.keyed_ids import keyed_run_id
from durable.core.runs import RunKey, Status
from durable.store.columns import column
from durable.store.runs import NewRun
from durable.store.settings import Shards
from durable.store.statement import Query, RunId, Statement, first, one


class _NewestRow(Shards, frozen=True):
    newest: list[str | None] | None


class FoundKey(msgspec.Struct, frozen=True):
    """The newest run of a key, ``None`` if there is none under the shard values that were looked at, and what the
    database says about these."""

    newest: Newest | None
    shards: Shards


class Earlier(msgspec.Struct, frozen=True):
    """What an earlier try of a begin has done: it began the run, or sent its event to it."""

    run_id: str
    is_new: bool


class _EventId(msgspec.Struct, frozen=True):
    event_id: str


class _NewestOfKey(msgspec.Struct, frozen=True):
    key: str
    workflow_name_shard: str
    run_id: str


_FIND_NEWEST = Query("generations/find_newest", _NewestRow)
_FIND_NEWEST_RUNS = Query("generations/find_newest_runs", _NewestOfKey)
_BEGIN_GENERATION = Query("generations/begin_generation", RunId)
_PUT_NEXT = Query("generations/put_next", _EventId)
_FIND_EARLIER = Query("generations/find_earlier", Earlier)


def find_newest(shard_values: Sequence[str], key: str) -> Statement[FoundKey]:
    """Reads the newest run with that key under one of these shard values."""
    return _FIND_NEWEST.statement({"shard_values": column(shard_values), "key": key}, _found)


def _found(rows: Sequence[_NewestRow]) -> FoundKey:
    row = one(rows)
    if row.newest is None:
        return FoundKey(None, row)
    shard_value, run_id, generation, status, begin_id = row.newest
    run_key = RunKey(shard_value or "", run_id or "")
    return FoundKey(Newest(run_key, int(generation or 0), msgspec.convert(status, Status), begin_id), row)


def find_newest_runs(shard_values: Sequence[str], keys: Sequence[str]) -> Statement[dict[str, RunKey]]:
    """Reads the newest run with each of these keys under any of these shard values, by key."""
    return _FIND_NEWEST_RUNS.statement(
        {"shard_values": column(shard_values), "keys": column(keys)},
        lambda rows: {row.key: RunKey(row.workflow_name_shard, row.run_id) for row in rows},
    )


def begin_generation(shard_value: str, run: NewRun, begin: BeginGeneration, begin_id: str) -> Statement[bool]:
    """Inserts a run of that generation of its key; answers whether it is new."""
    is_asleep = begin.follows is not None or run.delay is not None or run.at is not None
    params = {
        "shard_value": shard_value,
        "run_id": run.run_id if run.key is None else keyed_run_id(run.workflow_name, run.key, begin.generation),
        "workflow_name": run.workflow_name,
        "version": run.version,
        "status": "sleeping" if is_asleep else "queued",
        "priority": run.priority,
        "delay": run.delay,
        "at": run.at,
        "timeout": run.timeout,
        "key": run.key,
        "tags": run.tags,
        "headers": run.headers,
        "input": run.input,
        "generation": begin.generation or None,
        "follows": None if begin.follows is None else begin.follows.run_id,
        "begin_id": begin_id,
    }
    return _BEGIN_GENERATION.statement(params, bool)


def put_next(run_key: RunKey, event_id: str, name: str, payload: str) -> Statement[bool]:
    """Stores what is to happen once that run has ended, under the name of the run or the event that it is about;
    answers whether it was stored now."""
    return _PUT_NEXT.statement(
        {
            "shard_value": run_key.workflow_name_shard,
            "run_id": run_key.run_id,
            "event_id": event_id,
            "name": name,
            "payload": payload,
        },
        bool,
    )


def find_earlier(shard_value: str, key: str, begin_id: str, event_id: str | None) -> Statement[Earlier | None]:
    """Reads what an earlier try of that call has done; ``None`` if it has done nothing."""
    params = {"shard_value": shard_value, "key": key, "begin_id": begin_id, "event_id": event_id}
    return _FIND_EARLIER.statement(params, first)
