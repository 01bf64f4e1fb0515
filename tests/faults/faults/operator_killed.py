"""An operator who kills workers again and again under the same runs, some of which do kill their workers."""

from __future__ import annotations

import asyncio

from tests.faults.faults.crash_loop import doom
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, completed
from tests.faults.stage import Stage, fault
from tests.faults.workloads.dooming import EXIT_CODE, Dawdling, dawdling

_STRIKES = 5
_KILLS = 5
"""In one series: as many as condemn a run if each counts."""
_SERIES_A_POISON = 3
_WORKERS = 4
_AT_ONCE = 4
_SECONDS = (1.0, 2.5)
_EXECUTED = """
    SELECT process_id FROM durable.runs JOIN identities USING (worker_id)
    WHERE workflow_name = 'dawdling' AND status = 'running'
"""
_CONDEMNED = """
    SELECT run_id::text, workflow_name FROM durable.runs
    WHERE workflow_name <> 'dooming' AND error ->> 'type' = 'CrashLoop'
"""
_STRUCK = """
    SELECT count(*), coalesce(max(takeovers), 0) FROM durable.runs WHERE workflow_name <> 'dooming' AND takeovers > 1
"""

JUDGES["dawdling"] = completed(lambda facts: facts.memo("dawdle"), str)


async def _dawdle(life: Life) -> None:
    run_key = await life.begin(dawdling, Dawdling(life.number(), life.random.uniform(*_SECONDS)), is_plain=True)
    assert run_key is not None
    await life.load.ended(run_key)


async def _none_was_condemned_for_it(stage: Stage) -> None:
    for run_id, workflow in await stage.observer.rows(_CONDEMNED):
        stage.violated("I2", f"run {run_id} of {workflow} killed no worker, and is failed as a crash loop")
    ((count, most),) = await stage.observer.rows(_STRUCK)
    stage.noted(f"{count} innocent runs lost two workers or more, one of them {most}")
    if not count:
        stage.violated("I13", "no run lost two workers: nobody was ever under suspicion")


@fault(
    row=28,
    how=f"SIGKILL by an operator, {_KILLS} times in a row, of whatever worker executes the same slow runs; in one of"
    f" {_SERIES_A_POISON} series beside a run that kills its worker itself; {_STRIKES} strikes",
    target="0 innocent runs failed as crash loops; every run that kills its workers is",
    sizes={"smoke": _KILLS, "campaign": 10 * _KILLS, "soak": 400 * _KILLS},
    workers=_WORKERS,
    options={"max_strikes": _STRIKES, "workflows": "tests.faults.workloads.dooming:DOOMING_WORKFLOWS"},
    # A run that has lost many workers waits for its trial, longer after each death.
    patience=180.0,
    verify=_none_was_condemned_for_it,
)
async def operator_killed(stage: Stage) -> None:
    replacing = asyncio.create_task(_replace_the_dead(stage))
    doomed: list[asyncio.Task[None]] = []
    try:
        for number in range(stage.size // _KILLS):
            if number % _SERIES_A_POISON == 0:
                doomed.append(stage.load.start(Family("dooming", 1, doom)))
            slow = [stage.load.start(Family("dawdling", 1, _dawdle)) for _ in range(_AT_ONCE)]
            for _ in range(_KILLS):
                await _kill(stage)
            _, late = await asyncio.wait(slow, timeout=stage.fault.patience)
            if late:
                stage.violated("I2", f"{len(late)} slow runs did not end within {stage.fault.patience:g} s")
        await asyncio.wait(doomed, timeout=2 * stage.fault.patience)
    finally:
        replacing.cancel()


async def _kill(stage: Stage) -> None:
    """Kills each worker that executes a slow run, as soon as one does."""
    owners: set[int] = set()

    async def are_executed() -> bool:
        owners.update(row[0] for row in await stage.observer.rows(_EXECUTED))
        return any(member.process_id in owners for member in stage.fleet.alive)

    await asyncio.sleep(stage.random.uniform(0.0, 0.3))
    if not await stage.until(are_executed, 60.0, "a slow run is executed"):
        return
    victims = [member for member in stage.fleet.alive if member.process_id in owners]
    for victim in victims:
        victim.kill()
    for victim in victims:
        await victim.ended(5)
    stage.injected()


async def _replace_the_dead(stage: Stage) -> None:
    while True:
        stage.fleet.keep(_WORKERS)
        for member in stage.fleet.alive:
            member.expects.add(EXIT_CODE)
        await asyncio.sleep(0.02)
