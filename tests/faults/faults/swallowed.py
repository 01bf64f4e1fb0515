"""Workflow code that swallows exceptions, while its workers die, evict it and cancel it."""

from __future__ import annotations

import asyncio
from typing import get_args

import msgspec

from durable import RunNotCancellable
from tests.faults.families import FAMILIES
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, Facts, completed
from tests.faults.stage import Stage, fault
from tests.faults.workloads.swallowing import ROUNDS, Style, Swallowing, swallowing

_WORKERS = 5
_ENDED = """
    SELECT input ->> 'style', count(*) FROM durable.runs
    WHERE workflow_name = 'swallowing' AND completed_at IS NOT NULL GROUP BY 1 ORDER BY 1
"""
_STYLES: tuple[Style, ...] = get_args(Style)


async def _swallow(life: Life) -> None:
    order = Swallowing(life.number(), life.random.choice(_STYLES))
    run_key = await life.begin(swallowing, order, is_plain=True)
    assert run_key is not None
    if life.random.random() < 0.2:
        await life.pause(0.8)
        try:
            await life.load.surely(lambda: life.client.cancel_run(run_key, "enough"))
        except RunNotCancellable:
            pass  # it was quicker
    await life.load.ended(run_key)


def _swallowed(facts: Facts) -> list[str]:
    style = msgspec.json.decode(facts.input, type=Swallowing).style
    rounds = range(ROUNDS)
    match style:
        case "catch all":
            return [value for number in rounds for value in (facts.memo(f"step {number}"), "EventTimeout")]
        case "rescue":
            return [facts.memo(f"rescue {number}") for number in rounds]
        case "finally":
            return [facts.memo(f"{kind} {number}") for number in rounds for kind in ("step", "tidy")]
        case "gather":
            return [facts.memo("step 0"), "None", "StepFailed", "EventTimeout", facts.memo("step 2")]
        case "group":
            return ["StepFailed", facts.memo("step 1")]


def _judge(facts: Facts) -> str | None:
    is_cancelled = "" in facts.memos
    if facts.status == "cancelled":
        return None if facts.is_cancel_asked else "it is cancelled, and nobody asked for that"
    if is_cancelled:
        return f"it was cancelled, swallowed that, and is {facts.status}: {facts.output or facts.error}"
    return completed(_swallowed, list[str])(facts)


JUDGES["swallowing"] = _judge


@fault(
    row=18,
    how="except BaseException, calls in except and finally, gather and task groups; runs evicted, killed, cancelled",
    target="0 wrong results; a run that swallows a cancel is cancelled all the same",
    sizes={"smoke": 6, "campaign": 200, "soak": 3000},
    workers=_WORKERS,
    options={"workflows": "tests.faults.workloads.swallowing:SWALLOWING_WORKFLOWS", "max_resident": 2},
    families=(*FAMILIES[:3], Family("swallowing", 12, _swallow)),
)
async def swallowed(stage: Stage) -> None:
    while stage.count < stage.size:
        await asyncio.sleep(stage.random.uniform(0.2, 0.8))
        victim = stage.random.choice(stage.fleet.alive)
        victim.kill()
        if await victim.ended(5) is not None:
            stage.injected()
        stage.fleet.keep(_WORKERS)

    async def ended() -> list[tuple[str, int]]:
        return await stage.observer.rows(_ENDED)

    async def have_all() -> bool:
        return len(await ended()) == len(_STYLES)

    await stage.until(have_all, 30, "runs of every style end")
    stage.noted("runs that ended: " + ", ".join(f"{style} {count}" for style, count in await ended()))
