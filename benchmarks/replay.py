"""How many memos per second the pure core replays: a run of 10, 100 and 1,000 recorded steps is executed from the top
up to the first step that is not recorded. No database.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import uuid4

from benchmarks.setting import Figure, Setting
from benchmarks.workflows import steps
from durable import RunKey
from durable.core.codec.json_codec import JsonCodec
from durable.core.replay.history import History, Memo, Value
from durable.store.records import ClaimedRun
from durable.worker.clock import Clock
from durable.worker.run.attempt import Attempt

_LENGTHS = (10, 100, 1000)
_MEMOS = 200_000


async def measure(setting: Setting) -> list[Figure]:
    figures: list[Figure] = []
    for length in _LENGTHS:
        runs = setting.size(_MEMOS, 1000) // length
        rates = [_round(length, runs) for _ in range(setting.rounds)]
        figures.append(Figure(f"runs of {length:,} steps", "memos/s", rates))
    return figures


def _round(length: int, runs: int) -> float:
    memos = tuple(
        Memo(f"step {index}", "execute", "increment", index + 1, False, Value(str(index + 1)))
        for index in range(length)
    )
    history = History(memos)
    run_id = str(uuid4())
    claimed = ClaimedRun(run_id, 2, 1, 0, 0, str(length + 1), datetime.now(UTC), None, None)
    codec, clock = JsonCodec(), Clock()
    started = time.perf_counter()
    for _ in range(runs):
        attempt = Attempt(steps, RunKey("steps_0", run_id), claimed, codec, clock)
        machine = attempt.machine(history)
        (command,) = machine.start(attempt.main(machine))
        assert machine.is_replaying is False
        machine.close()
    assert getattr(command, "key", None) == f"step {length}", command
    return runs * length / (time.perf_counter() - started)
