"""Runs that kill every worker that executes them."""

from __future__ import annotations

import asyncio

import msgspec

from durable import RunFailed
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, Facts
from tests.faults.play import quantile
from tests.faults.stage import Stage, fault
from tests.faults.workloads.dooming import EXIT_CODE, Dooming, dooming

_STRIKES = 5
_SUSPICIONS = 3
"""So many deaths at most make a run a suspect that is tried alone: only those after them count."""
_WORKERS = 6
_BEFORE_PER_CRASH = 16
"""So many neighbours end before the crashes begin, for each crash."""
_LEAST_NEIGHBOURS = 500
"""Of fewer the 99th percentile says nothing."""
_NEIGHBOURS = """
    SELECT extract(epoch FROM completed_at - created_at)::float8, takeovers > 0 FROM durable.runs
    WHERE workflow_name IN ('transfer', 'effects', 'sleepy', 'parallel')
      AND created_at >= to_timestamp(%s) AND created_at < to_timestamp(%s)
    ORDER BY 1
"""
_STRUCK = """
    SELECT run_id::text, workflow_name, takeovers, error ->> 'type',
           (SELECT count(*) FROM evidence WHERE name = 'exit ' || run_id::text)
    FROM durable.runs WHERE workflow_name = 'dooming' OR error ->> 'type' = 'CrashLoop'
"""


def _crash_looped(facts: Facts) -> str | None:
    error = msgspec.json.decode(facts.error or "{}", type=dict[str, object])
    is_so = facts.status == "failed" and error.get("type") == "CrashLoop"
    return None if is_so else f"it kills its workers, and is {facts.status}: {facts.error}"


JUDGES["dooming"] = _crash_looped


async def doom(life: Life) -> None:
    """A run that is condemned in the end."""
    run_key = await life.begin(dooming, Dooming(life.number()), is_plain=True)
    assert run_key is not None
    await life.load.ended(run_key)
    try:
        await life.load.surely(lambda: life.client.handle(run_key, dooming).result(timeout=1))
    except RunFailed:
        return
    life.load.problems.append(f"run {run_key} crashed its workers, and its client got a result")


async def _only_these_were_struck(stage: Stage) -> None:
    for run_id, workflow, takeovers, error, exits in await stage.observer.rows(_STRUCK):
        if workflow != dooming.name:
            stage.violated("I2", f"run {run_id} of {workflow} killed no worker, and is failed: {error}")
        elif takeovers != exits or not _STRIKES <= exits <= _STRIKES + _SUSPICIONS:
            what = f"run {run_id} killed {exits} workers and has {takeovers} takeovers; {_STRIKES} in trials are right"
            stage.violated("I10", what)


@fault(
    row=17,
    how=f"a step that calls os._exit(1); {_STRIKES} strikes in trials",
    target=f"failed with CrashLoop after at most {_STRIKES + _SUSPICIONS} workers; p99 of neighbors on other workers"
    " less than twice that before",
    sizes={"smoke": _STRIKES, "campaign": 20 * _STRIKES, "soak": 200 * _STRIKES},
    workers=_WORKERS,
    is_timed=True,
    options={"max_strikes": _STRIKES, "workflows": "tests.faults.workloads.dooming:DOOMING_WORKFLOWS"},
    verify=_only_these_were_struck,
)
async def crash_loop(stage: Stage) -> None:
    async def now() -> float:
        return float((await stage.observer.rows("SELECT extract(epoch FROM clock_timestamp())::float8"))[0][0])

    async def replace_the_dead() -> None:
        while True:
            stage.fleet.keep(_WORKERS)
            for member in stage.fleet.alive:
                member.expects.add(EXIT_CODE)
            await asyncio.sleep(0.02)

    started = await now()
    enough = stage.load.ends + _BEFORE_PER_CRASH * stage.size
    await stage.until(lambda: stage.load.ends >= enough, 120, "neighbours end before the crashes")
    crashing = await now()
    replacing = asyncio.create_task(replace_the_dead())
    try:
        for _ in range(stage.size // _STRIKES):
            await stage.load.start(Family("dooming", 1, doom))
    finally:
        replacing.cancel()
    ended = await now()
    stage.injected((await stage.observer.rows("SELECT count(*) FROM evidence WHERE name LIKE 'exit %'"))[0][0])

    async def have_all_ended() -> bool:
        latencies = await stage.observer.rows(_NEIGHBOURS, (started, ended))
        return all(row[0] is not None for row in latencies)

    await stage.until(have_all_ended, stage.fault.patience, "the neighbours end")
    before = [row[0] for row in await stage.observer.rows(_NEIGHBOURS, (started, crashing))]
    found = await stage.observer.rows(_NEIGHBOURS, (crashing, ended))
    during = [latency for latency, is_taken_over in found if not is_taken_over]
    hit = [latency for latency, is_taken_over in found if is_taken_over]
    was, became, struck = (quantile(latencies, 0.99) for latencies in (before, during, hit))
    if was is None or became is None:
        stage.violated("I13", f"{len(before)} neighbours ended before the crashes and {len(during)} during them")
        return
    stage.noted(
        f"p99 of {len(before)} neighbours before {was:.2f} s, of {len(during)} during {became:.2f} s,"
        f" of {len(hit)} that lost their worker {struck or 0:.2f} s"
    )
    if min(len(before), len(during)) >= _LEAST_NEIGHBOURS and became >= 2 * was:
        stage.violated("I10", f"the neighbours' p99 went from {was:.2f} s to {became:.2f} s")
