"""Deploys of one release over the other and back, one worker at a time, with runs of both under way."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.faults.families import FAMILIES
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, Facts, completed
from tests.faults.stage import Stage, fault
from tests.faults.workloads.rolling import NEW_KEYS, OLD_KEYS, Release, Rolled, newcomer, old_rolled

_WORKERS = 4
_RELEASES = {
    "old": "tests.faults.workloads.rolling:OLD_WORKFLOWS",
    "new": "tests.faults.workloads.rolling:NEW_WORKFLOWS",
}
_SET_ASIDE = "is now sleeping: NondeterminismError"
_MIDWAY = """
    SELECT count(*) FROM durable.runs WHERE workflow_name = 'rolled' AND completed_at IS NULL
      AND EXISTS (SELECT FROM durable.steps WHERE steps.workflow_name_shard = runs.workflow_name_shard
                  AND steps.run_id = runs.run_id)
"""


async def _roll(life: Life) -> None:
    run_key = await life.begin(old_rolled, Rolled(life.number(), life.random.uniform(0.0, 1.0)))
    if run_key is not None:
        await life.load.ended(run_key)


async def _arrive(life: Life) -> None:
    run_key = await life.begin(newcomer, Rolled(life.number(), 0.0))
    if run_key is not None:
        await life.load.ended(run_key)


def _one_release(facts: Facts) -> Release:
    """All of it by one of them, whichever that was."""
    name = "new" if "inform" in facts.memos else "old"
    return Release(name, [facts.memo(key) for key in (NEW_KEYS if name == "new" else OLD_KEYS)])


JUDGES["rolled"] = completed(_one_release, Release)
JUDGES["newcomer"] = completed(lambda facts: facts.memo("arrive"), str)


@fault(
    row=19,
    how="one release deployed over the other, worker by worker: steps reordered and added, a workflow that is new",
    target="0 runs failed by a deploy; runs that do not match are set aside and finished by matching code",
    sizes={"smoke": 1, "campaign": 50, "soak": 1000},
    workers=_WORKERS,
    options={"workflows": _RELEASES["old"], "graceful_shutdown_timeout": 2.0},
    families=(*FAMILIES, Family("rolled", 5, _roll), Family("newcomer", 2, _arrive)),
    # A run that was often met by the other release is looked at ever more seldom.
    patience=300.0,
)
async def rolled(stage: Stage) -> None:
    async def are_midway() -> bool:
        return bool((await stage.observer.rows(_MIDWAY))[0][0])

    for number in range(stage.size):
        await stage.until(are_midway, 30, "runs are under way when a release is deployed")
        await deploy(stage, _RELEASES["old" if number % 2 else "new"], _WORKERS)
        stage.injected()
        await stage.settle(30)
    await deploy(stage, _RELEASES["new" if stage.size % 2 == 0 else "old"], _WORKERS // 2)
    set_aside = Path(stage.options.log).read_text(errors="replace").count(_SET_ASIDE)
    stage.noted(f"{set_aside} times a run was set aside")
    if not set_aside:
        stage.violated("I13", "no run was set aside: the releases never met each other's runs")


async def deploy(stage: Stage, workflows: str, workers: int) -> None:
    """Puts a release with those workflows in place of so many workers, one after the other."""
    options = msgspec.structs.replace(stage.options, workflows=workflows)
    for member in stage.fleet.alive[:workers]:
        stage.fleet.spawn(options)
        member.terminate()
        if await member.ended(stage.options.graceful_shutdown_timeout + 10) is None:
            stage.violated("I11", f"worker {member.process_id} did not make room for the next release")
    stage.fleet.collect()
