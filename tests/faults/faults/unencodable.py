"""Values that cannot be sent to the server, in the middle of flushes."""

from __future__ import annotations

import msgspec

from durable import RunFailed
from tests.faults.families import FAMILIES
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, Facts
from tests.faults.stage import Stage, fault
from tests.faults.workload import Effects, effects
from tests.faults.workloads.garbling import Garbling, garbling

_REASON = "U+D800"
_MATES = 10
_FAILED = "SELECT count(*) FROM durable.runs WHERE workflow_name = 'garbling' AND status = 'failed'"
_CALLED_AGAIN = """
    SELECT journal.run_id::text, workflow_name, step_key, count(*) FROM journal JOIN durable.runs USING (run_id)
    WHERE what = 'start' AND workflow_name <> 'failing' AND takeovers = 0
    GROUP BY 1, 2, 3 HAVING count(*) > 1 AND step_key <> 'stumble'
"""


def _failed_for_that(facts: Facts) -> str | None:
    message = msgspec.json.decode(facts.error or "{}", type=dict[str, object]).get("message", "")
    is_so = facts.status == "failed" and _REASON in str(message)
    return None if is_so else f"what it returned cannot be stored, and it is {facts.status}: {facts.error}"


JUDGES["garbling"] = _failed_for_that


async def _garble(life: Life) -> None:
    """The runs are begun together with others, whose steps and ends are written in the same flushes."""
    mates = [Effects(life.number(), life.random.randint(1, 3), 0.0) for _ in range(_MATES)]
    mate_keys = await life.begin_many(effects, mates)
    run_key = await life.begin(garbling, Garbling(life.number(), life.random.choice(("output", "step"))), is_plain=True)
    assert run_key is not None
    await life.load.ended(run_key)
    try:
        await life.load.surely(lambda: life.client.handle(run_key, garbling).result(timeout=1))
    except RunFailed:
        for mate_key in mate_keys:
            await life.load.ended(mate_key)
        return
    life.load.problems.append(f"run {run_key} returned what cannot be stored, and its client got it")


async def _no_mate_lost_anything(stage: Stage) -> None:
    for run_id, workflow, key, times in await stage.observer.rows(_CALLED_AGAIN):
        stage.violated("I1", f"step {key!r} of {workflow} {run_id} was called {times} times, and nobody had died")


@fault(
    row=30,
    how="outputs of runs and of steps that cannot be encoded, written in one flush with what others return",
    target="their runs fail with the reason; no step of another run is called again, 0 worker exits",
    sizes={"smoke": 10, "campaign": 150, "soak": 5000},
    workers=2,
    options={
        "workflows": "tests.faults.workloads.garbling:GARBLING_WORKFLOWS",
        "codec": "tests.faults.workloads.garbling:CODEC",
    },
    families=(*FAMILIES, Family("garbling", 6, _garble)),
    verify=_no_mate_lost_anything,
)
async def unencodable(stage: Stage) -> None:
    async def are_enough() -> bool:
        stage.count = (await stage.observer.rows(_FAILED))[0][0]
        return stage.count >= stage.size

    await stage.until(are_enough, 60.0 + 2.0 * stage.size, "enough runs have returned what cannot be stored")
