"""Where runs are kept whose ids were known before they were begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from durable.core.runs import RunKey
from durable.core.shards import shard_value
from durable.store import generations, schedules
from durable.store.settings import Shards, lock_names, read_shards
from durable.store.statement import Requests

_IDS_A_LOOK = 500


def find_begun(
    workflow_names: Mapping[str, str], *, locked: Sequence[str] | None = None
) -> Requests[tuple[dict[str, RunKey], int]]:
    """Returns those of the runs, given by their ids and the names of their workflows, that exist, and the current shard
    count. Runs that were begun before it was raised lie under shard values where no insert would collide with them.
    While it is being raised, nobody who locks the same names begins these runs until this transaction ends; the names
    are the ids of the runs unless others are given."""
    shards = yield from _shards(sorted(workflow_names) if locked is None else locked)
    found: dict[str, RunKey] = {}
    run_ids = list(workflow_names)
    for first in range(0, len(run_ids), _IDS_A_LOOK):
        looked = run_ids[first : first + _IDS_A_LOOK]
        values = {shard_value(workflow_names[one], one, count) for one in looked for count in shards.known}
        found |= yield from schedules.find_runs(sorted(values), looked)
    return found, shards.shard_count


def find_newest_runs(workflow_name: str, first_ids: Mapping[str, str]) -> Requests[tuple[dict[str, RunKey], int]]:
    """Returns the newest runs with these keys, each given with the id of the first run that has it, if there are any,
    and the current shard count; with the same promises as ``find_begun``."""
    shards = yield from _shards(sorted(first_ids.values()))
    found: dict[str, RunKey] = {}
    keys = list(first_ids)
    for first in range(0, len(keys), _IDS_A_LOOK):
        looked = keys[first : first + _IDS_A_LOOK]
        values = {shard_value(workflow_name, first_ids[key], count) for key in looked for count in shards.known}
        found |= yield from generations.find_newest_runs(sorted(values), looked)
    return found, shards.shard_count


def _shards(locked: Sequence[str]) -> Requests[Shards]:
    shards = yield from read_shards()
    if shards.is_being_raised:
        yield from lock_names(locked)
        shards = yield from read_shards()
    return shards
