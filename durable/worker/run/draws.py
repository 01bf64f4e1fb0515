"""What a run draws from the world: random values, the time, the ids of children and events. All of it is stored, so
that a replay draws nothing."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import datetime

from durable.core.codec.json_codec import Codec
from durable.core.replay.commands import Draw, Drawn, Publish, StartChild
from durable.core.replay.history import Value
from durable.core.runs import RunKey
from durable.core.shards import shard_value
from durable.store.ids import child_run_id, uuid7
from durable.worker.run.step_calls import Finished

_random = random.SystemRandom()


def draw(
    call: Drawn, run_id: str, codec: Codec, now: Callable[[], datetime], shard_count: Callable[[], int]
) -> Finished:
    """Returns a fresh answer for the run with that id. ``now`` returns the time by the database's clock."""
    if isinstance(call, Draw):
        text = codec.encode(_drawn(call, now), str(call))
    elif isinstance(call, Publish):
        text = Publish.answer(str(uuid7()))
    else:
        child = child_run_id(run_id)
        text = StartChild.answer(RunKey(shard_value(call.name, child, shard_count()), child))
    return Finished(Value(text), 1, 0.0, None, is_stored=False)


def _drawn(call: Draw, now: Callable[[], datetime]) -> object:
    match call.source:
        case "random_uuid7":
            return uuid7()
        case "random_uint64":
            return int.from_bytes(os.urandom(8))
        case "random":
            return _random.random()
        case "now":
            return now()
