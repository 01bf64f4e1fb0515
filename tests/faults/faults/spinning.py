"""Workflow code that spins in its worker."""

from __future__ import annotations

import asyncio
import time

import msgspec

from tests.faults.families import FAMILIES
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, Facts, completed
from tests.faults.stage import Stage, fault
from tests.faults.workloads.spinning import How, Spinning
from tests.faults.workloads.spinning import spinning as spinning_workflow

_WORKERS = 4
_GRACE = 1.0
_END_SECONDS = 4.0
"""After its grace: it is looked at once a second, has to be stuck for two, and has a second for its last words."""
_LONGEST_SECONDS = 20.0
_TOLD = 143
_SPINNING = "SELECT process_id FROM evidence WHERE name LIKE 'spins %'"
_FORGET = "DELETE FROM evidence WHERE name LIKE 'spins %'"
_ENDED_ELSEWHERE = """
    SELECT count(*) FROM transitions WHERE new_status = 'completed' AND writer <> %s
      AND pg_xact_commit_timestamp(xid) > to_timestamp(%s)
"""


def _as_it_spins(facts: Facts) -> str | None:
    order = msgspec.json.decode(facts.input, type=Spinning)
    if order.how == "for ever":
        is_so = facts.status == "failed" and "circles" in (facts.error or "")
        return None if is_so else f"nothing ends its circles, and it is {facts.status}: {facts.error}"
    return completed(lambda _: [facts.memo("before"), facts.memo("work")], list[str])(facts)


JUDGES["spinning"] = _as_it_spins


async def _circle(life: Life) -> None:
    how: How = "for ever" if life.random.random() < 0.1 else "until answered"  # the former takes seconds of a processor
    order = Spinning(life.number(), how)
    run_key = await life.begin(spinning_workflow, order)
    if run_key is not None:
        await life.load.ended(run_key)


async def _compute(life: Life) -> None:
    run_key = await life.begin(spinning_workflow, Spinning(life.number(), "computing"), is_plain=True)
    assert run_key is not None
    await life.load.ended(run_key)


@fault(
    row=33,
    how="workflow code that turns in circles of sleep(0), or computes without end; the worker of the latter is stopped"
    " by SIGTERM",
    target="circles end with the next answer, or fail; runs on other workers continue; the process ends within its"
    f" grace period + {_END_SECONDS:g} s, and others finish its runs",
    sizes={"smoke": 3, "campaign": 20, "soak": 1000},
    workers=_WORKERS,
    options={
        "workflows": "tests.faults.workloads.spinning:SPINNING_WORKFLOWS",
        "graceful_shutdown_timeout": _GRACE,
    },
    families=(*FAMILIES, Family("spinning", 2, _circle)),
    # A transaction that is open when its loop is blocked stays open for as long.
    excuses=frozenset({"I12"}),
    recovery=_GRACE + _END_SECONDS,
    patience=60.0,
)
async def spinning(stage: Stage) -> None:
    found: list[int] = []

    async def is_computing() -> bool:
        found[:] = [row[0] for row in await stage.observer.rows(_SPINNING)]
        return bool(found)

    while stage.count < stage.size:
        running = stage.load.start(Family("computing", 1, _compute))
        if not await stage.until(is_computing, 30, "a run computes without end"):
            return
        (process_id,) = found
        asked = (process_id, time.time())

        async def others_go_on(asked: tuple[int, float] = asked) -> bool:
            return bool((await stage.observer.rows(_ENDED_ELSEWHERE, asked))[0][0])

        await stage.until(others_go_on, 10, "runs on other workers end while one computes")
        await asyncio.sleep(stage.random.uniform(0.0, 2.0))
        member = next(each for each in stage.fleet.alive if each.process_id == process_id)
        member.expects.add(_TOLD)
        began = member.terminate()
        if await member.ended(_GRACE + _LONGEST_SECONDS) is None:
            stage.violated("I11", f"worker {process_id} did not end after SIGTERM, because a run computes")
            member.kill()
            await member.ended(5)
        stage.recovered(time.time() - began)
        stage.fleet.keep(_WORKERS)
        await asyncio.wait([running], timeout=stage.fault.patience)
        await stage.observer.rows(_FORGET)
        stage.injected()
