"""Events, timeouts and cancels that come at any moment of a run."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from durable import RunKey, RunNotCancellable, RunTerminal
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, Facts, Missing, completed
from tests.faults.stage import Stage, fault
from tests.faults.workloads.racing import TIMED_OUT, Racing, Round, racing

_LONGEST_SECONDS = 0.25
_LOOKS = 25
_LOOK_SECONDS = 0.02
_RACES = """
    SELECT (SELECT count(*) FROM durable.events JOIN durable.runs USING (workflow_name_shard, run_id)
            WHERE workflow_name = 'racing')
         + (SELECT count(*) FROM durable.waits WHERE timed_out)
"""
_MET = """
    SELECT coalesce((SELECT new_status FROM transitions
                     WHERE transitions.run_id = event.run_id AND pg_xact_commit_timestamp(xid) <= event.created_at
                     ORDER BY id DESC LIMIT 1), 'queued'), count(*)
    FROM durable.events AS event JOIN durable.runs USING (workflow_name_shard, run_id)
    WHERE workflow_name = 'racing' GROUP BY 1 ORDER BY 2 DESC
"""


def _round(life: Life) -> Round:
    timeout = life.random.choice((None, life.random.uniform(0.0, _LONGEST_SECONDS)))
    return Round(life.random.choice(("nothing", "step", "sleep", "own event")), life.random.random() < 0.3, timeout)


async def _race(life: Life) -> None:
    order = Racing(life.number(), [_round(life) for _ in range(life.random.randint(1, 4))])
    run_key = await life.begin(racing, order, is_plain=True)
    assert run_key is not None
    acts = [f"told {index}" for index in range(len(order.rounds))]
    if life.random.random() < 0.3:
        acts.insert(life.random.randrange(len(acts) + 1), "cancel")
    for act in acts:
        if life.random.random() < 0.4:
            await _look(life, run_key, life.random.choice(("running", "waiting_event", "sleeping")))
        else:
            await life.pause(life.random.choice((0.0, 0.02, _LONGEST_SECONDS)))
        try:
            if act == "cancel":
                await life.load.surely(partial(life.client.cancel_run, run_key, act))
            else:
                await life.publish_event(run_key, "news", act)
        except (RunTerminal, RunNotCancellable):
            pass  # it timed out, or was cancelled, before
    await life.load.ended(run_key)


async def _look(life: Life, run_key: RunKey, status: str) -> None:
    """Returns when the run is seen in that status, or once it was looked at often enough."""
    for _ in range(_LOOKS):
        found = await life.load.surely(lambda: life.client.get_run_info(run_key))
        if found.status in (status, "completed", "failed", "cancelled"):
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _heard(facts: Facts) -> list[str]:
    heard: list[str] = []
    for position in range(len(msgspec.json.decode(facts.input, type=Racing).rounds)):
        wait = facts.waits.get(f"wait {position}")
        if wait is None or (wait.payload is None and not wait.timed_out):
            raise Missing(f"it ended without its wait {position}")
        heard.append(TIMED_OUT if wait.payload is None else msgspec.json.decode(wait.payload, type=str))
    return heard


def _judge(facts: Facts) -> str | None:
    if facts.status == "cancelled":
        return None if facts.is_cancel_asked else "it is cancelled, and nobody asked for that"
    return completed(_heard, list[str])(facts)


JUDGES["racing"] = _judge


@fault(
    row=22,
    how="events (also from the run's own steps), timeouts and cancels at random moments, while runs are evicted",
    target="10,000 races; 0 runs stuck, 0 events lost or taken twice",
    sizes={"smoke": 300, "campaign": 10_000, "soak": 200_000},
    workers=3,
    options={"workflows": "tests.faults.workloads.racing:RACING_WORKFLOWS", "max_resident": 8},
    families=(Family("racing", 1, _race),),
    in_flight=60,
)
async def event_races(stage: Stage) -> None:
    async def races() -> int:
        return int((await stage.observer.rows(_RACES))[0][0])

    while await races() < stage.size:
        await asyncio.sleep(0.1)
    stage.injected(await races())
    met = await stage.observer.rows(_MET)
    stage.noted("events and cancels met runs " + ", ".join(f"{status} {count}" for status, count in met))
    if not {"queued", "running", "waiting_event"} <= {status for status, _ in met}:
        stage.violated("I13", f"events met only runs that were {[status for status, _ in met]}")
