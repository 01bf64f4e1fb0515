"""Deploys in which types have changed: what is stored does not fit the code that reads it."""

from __future__ import annotations

from typing import Any

import msgspec

from durable.core.replay.history import ChildEnd
from tests.faults.families import FAMILIES
from tests.faults.faults.rolled import deploy
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, Facts, Missing, completed
from tests.faults.stage import Stage, fault
from tests.faults.workloads.retyping import EARLIER, Bought, Place, Trade

_WORKERS = 4
_RELEASES = (
    "tests.faults.workloads.retyping:EARLIER_WORKFLOWS",
    "tests.faults.workloads.retyping:LATER_WORKFLOWS",
)
_TRADING, _TYPED, _ = EARLIER
_UNDER_WAY = "SELECT count(*) FROM durable.runs WHERE workflow_name IN ('trading', 'typed') AND completed_at IS NULL"
_SET_ASIDE = "SELECT count(*) FROM durable.runs WHERE workflow_name IN ('trading', 'typed') AND set_asides > 0"
_REFUNDED = """
    SELECT run_id::text, count(*) FROM journal JOIN durable.runs USING (run_id)
    WHERE step_key = 'refund' AND what = 'start' AND workflow_name IN ('trading', 'typed') GROUP BY 1
"""
_REASONS = """
    SELECT run_id::text, error ->> 'message' FROM durable.runs
    WHERE workflow_name IN ('trading', 'typed') AND status = 'sleeping' AND set_asides > 0
"""
_decode = msgspec.json.decode


async def _trade(life: Life) -> None:
    place: Place = life.random.choice(("input", "step", "event", "child"))
    bought = Bought(f"{life.random.getrandbits(64):016x}")
    order = Trade(life.number(), place, life.random.uniform(0.0, 1.5), bought)
    run_key = await life.begin(_TYPED if place == "input" else _TRADING, order, is_plain=True)
    assert run_key is not None
    if place == "event":
        await life.pause(0.5)
        await life.publish_event(run_key, "bought", bought)
    await life.load.ended(run_key)


def _shipped(facts: Facts) -> list[str]:
    if "refund" in facts.memos:
        raise Missing("it was refunded, and only the types had changed")
    order = _decode(facts.input, type=Trade)
    item = order.bought.item
    if order.place == "step":
        item = facts.memo("buy", dict[str, Any])["item"]
    elif order.place == "child":
        end = _decode(facts.waits["sell:result"].payload or "", type=ChildEnd)
        item = _decode(end.output_text, type=dict[str, Any])["item"]
    return [item, facts.memo("ship")]


JUDGES["trading"] = JUDGES["typed"] = completed(_shipped, list[str])


async def _nothing_was_refunded(stage: Stage) -> None:
    for run_id, times in await stage.observer.rows(_REFUNDED):
        stage.violated("I9", f"run {run_id} was refunded {times} times, and only the types had changed")


@fault(
    row=32,
    how="a release deployed over another, worker by worker, in which the types of inputs, step results, events and the"
    " outputs of children have changed",
    target="0 runs failed, 0 compensations; runs that do not fit are set aside with the path and the type, and finished"
    " by fitting code",
    sizes={"smoke": 1, "campaign": 8, "soak": 600},
    workers=_WORKERS,
    options={"workflows": _RELEASES[0], "graceful_shutdown_timeout": 2.0},
    families=(*FAMILIES, Family("trading", 8, _trade)),
    # A run that was often met by the other release is looked at ever more seldom.
    patience=300.0,
    verify=_nothing_was_refunded,
)
async def retyped(stage: Stage) -> None:
    async def are_under_way() -> bool:
        return bool((await stage.observer.rows(_UNDER_WAY))[0][0])

    async def are_set_aside() -> bool:
        return bool((await stage.observer.rows(_SET_ASIDE))[0][0])

    reasons = 0
    for number in range(stage.size):
        await stage.until(are_under_way, 30, "runs are under way when a release is deployed")
        await deploy(stage, _RELEASES[(number + 1) % 2], _WORKERS)
        if number % 2 or await stage.until(are_set_aside, 30, "a run is set aside by the later release"):
            stage.injected()
        for run_id, message in await stage.observer.rows(_REASONS):
            reasons += 1
            if "`currency`" not in (message or ""):
                stage.violated("I9", f"run {run_id} is set aside, and its reason names no field: {message}")
        await stage.settle(30)
    await deploy(stage, _RELEASES[(stage.size + 1) % 2], _WORKERS // 2)
    stage.noted(f"{reasons} runs were seen set aside with the field as the reason")
