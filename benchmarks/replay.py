"""How many memos per second the pure core replays: a run of 10, 100 and 1,000 recorded steps is executed from the top
up to the first step that is not recorded. And how long a run with 10,000 steps at once takes, and holds up the other
runs of its worker, when it is replayed, canceled, or replayed after a retry. No database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from benchmarks.setting import Figure, Setting
from benchmarks.workflows import increment, steps
from durable import Context, RunKey, Workflow, workflow
from durable.core.codec.json_codec import JsonCodec
from durable.core.replay.commands import Complete
from durable.core.replay.history import NO_HISTORY, Cancel, History, Memo, Value
from durable.core.replay.machine import Machine
from durable.store.records import ClaimedRun
from durable.worker.clock import Clock
from durable.worker.run.attempt import Attempt

_LENGTHS = (10, 100, 1000)
_MEMOS = 200_000
_WIDTH = 10_000
_CODEC, _CLOCK = JsonCodec(), Clock()


async def measure(setting: Setting) -> list[Figure]:
    figures: list[Figure] = []
    for length in _LENGTHS:
        runs = setting.size(_MEMOS, 1000) // length
        rates = [_round(length, runs) for _ in range(setting.rounds)]
        figures.append(Figure(f"runs of {length:,} steps", "memos/s", rates))
    width = setting.size(_WIDTH, 1000)
    rounds = [_wide_round(width) for _ in range(setting.rounds)]
    for place, name in enumerate(("replayed", "canceled", "replayed after a retry")):
        figures.append(Figure(f"{width:,} steps at once, {name}", "CPU ms", [round[place][0] for round in rounds]))
        longest = [round[place][1] for round in rounds]
        figures.append(Figure(f"{width:,} steps at once, {name}, longest turn", "CPU ms", longest))
    return figures


@workflow
async def wide(ctx: Context, width: int) -> int:
    """Executes ``width`` steps at once."""
    return len(await asyncio.gather(*(ctx.execute(f"step {n}", increment, n) for n in range(width))))


def _wide_round(width: int) -> list[tuple[float, float]]:
    """Returns the milliseconds of CPU that each of the three takes, and those of its longest turn."""
    memos = [Memo(f"step {n}", "execute", "increment", n + 1, False, Value(str(n + 1))) for n in range(width)]
    carried = [msgspec.structs.replace(memo, seq=None, carried=True) for memo in memos]
    return [_replayed(width, memos), _canceled(width), _replayed(width, carried)]


def _replayed(width: int, memos: list[Memo]) -> tuple[float, float]:
    attempt, machine = _begun(wide, width, History(tuple(memos)))
    lengths: list[float] = []
    rest: Iterator[None] | None = None
    is_over = False
    while not is_over:
        started = time.thread_time()
        if rest is None:
            rest = machine.begin(attempt.main(machine)) or iter(())
        else:
            is_over = next(rest, True) is True
        lengths.append(1000 * (time.thread_time() - started))
    (command,) = machine.take_commands()
    assert isinstance(command, Complete), command
    machine.close()
    return sum(lengths), max(lengths)


def _canceled(width: int) -> tuple[float, float]:
    attempt, machine = _begun(wide, width, NO_HISTORY)
    assert len(machine.start(attempt.main(machine))) == width
    started = time.thread_time()
    _, commands = machine.cancel(Cancel("request"))
    length = 1000 * (time.thread_time() - started)
    assert len(commands) == width + 1, commands[-1]
    machine.close()
    return length, length


def _round(length: int, runs: int) -> float:
    memos = tuple(
        Memo(f"step {index}", "execute", "increment", index + 1, False, Value(str(index + 1)))
        for index in range(length)
    )
    history = History(memos)
    started = time.perf_counter()
    for _ in range(runs):
        attempt, machine = _begun(steps, length + 1, history)
        (command,) = machine.start(attempt.main(machine))
        assert machine.is_replaying is False
        machine.close()
    assert getattr(command, "key", None) == f"step {length}", command
    return runs * length / (time.perf_counter() - started)


def _begun(code: Workflow[int, int], input: int, history: History) -> tuple[Attempt, Machine]:
    run_id = str(uuid4())
    claimed = ClaimedRun(run_id, 2, 1, 0, 0, str(input), datetime.now(UTC), None, None)
    attempt = Attempt(code, RunKey(f"{code.name}_0", run_id), claimed, _CODEC, _CLOCK)
    return attempt, attempt.machine(history)
