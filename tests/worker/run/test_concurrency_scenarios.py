"""Who wins in concurrent workflow code is what the record says: undisturbed, evicted at each wait, or killed."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import pytest

from durable import AsyncClient, Worker
from tests.watching import rows, until
from tests.worker.run.scenarios.playing import (
    Begun,
    Recorded,
    begin,
    check_replays,
    publishing,
    recorded,
    results,
    worker_process,
)
from tests.worker.run.scenarios.stage import RACES, SCENARIOS, WORKFLOWS, Played, passes

SEEDS = range(int(os.environ.get("DURABLE_SCENARIO_SEEDS", "2")))
"""How many schedules each scenario is played with, in each of the ways."""
STEPS = 240
"""A worker is killed when at most this many are recorded. All scenarios with one seed record about 270."""


async def play(
    database: str, seed: int, *, resident: int = 10_000, names: Sequence[str] | None = None
) -> tuple[list[Begun], dict[Played, Any], list[int]]:
    """Returns the runs, their results, and how often each was executed from its top."""
    passes.clear()
    async with AsyncClient(database) as client, Worker(database, WORKFLOWS, max_resident=resident):
        begun = await begin(client, [seed], names)
        async with publishing(database, client, begun):
            ended = await results(client, begun)
    return begun, ended, [passes[one.played] for one in begun]


async def check(database: str, begun: Sequence[Begun], ended: dict[Played, Any]) -> dict[Played, Recorded]:
    """Whatever is replayed of a record, and wherever the run goes on from there, it ends as it did."""
    records = await recorded(database, begun)
    for one in begun:
        try:
            check_replays(records[one.played], one.run_key.workflow_name_shard, ended[one.played])
        except AssertionError as error:
            raise AssertionError(f"{one}: {error}") from error
    return records


async def check_values(database: str, seed: int, ended: dict[Played, Any]) -> None:
    """Where no race decides the value, it is what it is undisturbed."""
    _, undisturbed, _ = await play(database, seed, names=sorted(SCENARIOS.keys() - RACES))
    for run, (value, _) in undisturbed.items():
        assert ended[run][0] == value, run


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_run_in_memory_ends_as_each_replay_of_it_does(database: str, seed: int) -> None:
    begun, ended, executed = await play(database, seed)
    await check(database, begun, ended)
    # A run is executed again only if it is claimed before the worker knows that it was parked.
    assert sum(times == 1 for times in executed) > 0.5 * len(executed)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_run_that_is_evicted_while_it_waits_ends_as_each_replay_of_it_does(database: str, seed: int) -> None:
    begun, ended, executed = await play(database, seed, resident=1)
    await check(database, begun, ended)
    await check_values(database, seed, ended)
    # Each waits at least twice, and one parked run at a time is not evicted.
    assert sum(times > 2 for times in executed) > 0.5 * len(executed)


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_a_killed_worker_has_recorded_is_where_the_run_goes_on(database: str, seed: int) -> None:
    moment = random.Random(f"kill {seed}").randrange(10, STEPS)
    processes = [worker_process(database)]
    try:
        async with AsyncClient(database) as client:
            begun = await begin(client, [seed])
            async with publishing(database, client, begun):
                await until(lambda: has_recorded(database, moment))
                processes[0].kill()
                processes[0].wait()
                before = await recorded(database, begun)
                processes.append(worker_process(database))
                ended = await results(client, begun)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    after = await check(database, begun, ended)
    await check_values(database, seed, ended)
    for run, kept in before.items():
        ordered = [memo for memo in kept.memos if memo.seq is not None]
        assert list(after[run].memos[: len(ordered)]) == ordered, run
        assert kept.outcomes.items() <= after[run].outcomes.items(), run
        assert kept.winners.items() <= after[run].winners.items(), run


async def has_recorded(database: str, count: int) -> bool:
    return await rows(database, "SELECT count(*) >= %s FROM durable.steps", count) == [(True,)]
