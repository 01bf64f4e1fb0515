"""Rows that no client would have written, among those of the load."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import msgspec

from tests.faults.families import FAMILIES
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, Facts, completed
from tests.faults.stage import Stage, fault
from tests.faults.workloads.poisoned import POISONS, Poisoned, poisoned, token

_BATCH = 20
_SHARDS = 2
_PLACES = ("input", "memo", "failed memo", "event", "cancel", "terminate", "schedule")
_RUN = """
    INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input, epoch)
    VALUES (%s, %s, 'poisoned', %s, %s) ON CONFLICT DO NOTHING
"""
_MEMO = """
    INSERT INTO durable.steps
        (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at, output, error)
    VALUES (%s, %s, 'made', 'execute', %s, 1, %s, now(), %s, %s) ON CONFLICT DO NOTHING
"""
_EVENT = """
    INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload, kind)
    VALUES (%s, %s, %s, 'news', %s, %s) ON CONFLICT DO NOTHING
"""
_SCHEDULE = """
    INSERT INTO durable.schedules (schedule_id, workflow_name, expression, input, next_tick_at)
    VALUES (%s, 'poisoned', '@every 1000h', %s, now()) ON CONFLICT DO NOTHING
"""
_FATES = """
    SELECT run_id::text, status, error ->> 'type', takeovers FROM durable.runs
    WHERE run_id = ANY(%s::uuid[]) OR schedule_id = ANY(%s)
"""
_REMOVE = """
    WITH gone AS (
        DELETE FROM durable.runs WHERE run_id = ANY(%s::uuid[]) OR schedule_id = ANY(%s)
        RETURNING workflow_name_shard, run_id
    ), memos AS (
        DELETE FROM durable.steps USING gone
        WHERE steps.workflow_name_shard = gone.workflow_name_shard AND steps.run_id = gone.run_id
    ), waits AS (
        DELETE FROM durable.waits USING gone
        WHERE waits.workflow_name_shard = gone.workflow_name_shard AND waits.run_id = gone.run_id
    ), events AS (
        DELETE FROM durable.events USING gone
        WHERE events.workflow_name_shard = gone.workflow_name_shard AND events.run_id = gone.run_id
    )
    DELETE FROM durable.schedules WHERE schedule_id = ANY(%s)
"""


async def _neighbour(life: Life) -> None:
    number = life.number()
    run_key = await life.begin(poisoned, Poisoned(number), is_plain=True)
    assert run_key is not None
    await life.publish_event(run_key, "news", UUID(int=number))
    await life.load.ended(run_key)


def _expected(facts: Facts) -> list[UUID]:
    return [facts.memo("made", UUID), UUID(int=msgspec.json.decode(facts.input, type=Poisoned).number)]


JUDGES["poisoned"] = completed(_expected, list[UUID])


class Dose(msgspec.Struct, frozen=True):
    """``identity``: of the run or, as text, of the schedule."""

    name: str
    place: str
    identity: UUID


@fault(
    row=16,
    how=f"{len(POISONS)} values of failure modes E1 to E6 written by SQL as {', '.join(_PLACES)}",
    target="100 % ended or set aside with a reason, 0 worker exits",
    sizes={"smoke": 60, "campaign": 2000, "soak": 20_000},
    workers=3,
    families=(*FAMILIES, Family("neighbour", 4, _neighbour)),
    options={"workflows": "tests.faults.workloads.poisoned:POISONED_WORKFLOWS"},
)
async def poison(stage: Stage) -> None:
    combinations = [(name, place) for name in POISONS for place in _PLACES]
    for first in range(0, stage.size, _BATCH):
        chosen = stage.random.choices(combinations, k=min(_BATCH, stage.size - first))
        doses = [Dose(name, place, UUID(int=stage.random.getrandbits(128))) for name, place in chosen]
        await asyncio.gather(*(_administer(stage, dose) for dose in doses))
        await stage.until(partial(_have_ended, stage, doses), 30, "every poisoned run ends")
        stage.injected(await _judge(stage, doses))
        await stage.observer.rows(_REMOVE, (*_identities(doses), [str(dose.identity) for dose in doses]))
    for process_id, count in await stage.observer.rows(
        "SELECT process_id, count(*) FROM identities GROUP BY process_id HAVING count(*) > 1"
    ):
        stage.violated("I11", f"worker {process_id} lost its lease {count - 1} times")


async def _administer(stage: Stage, dose: Dose) -> None:
    rows, value, run_id = stage.observer.rows, POISONS[dose.name], str(dose.identity)
    shard = f"poisoned_{stage.random.randrange(_SHARDS)}"
    if dose.place == "schedule":
        await rows(_SCHEDULE, (run_id, value))
        return
    good = Poisoned(0)
    if dose.place in ("memo", "failed memo"):
        is_failed = dose.place == "failed memo"
        outcome = (
            ("failed", token.__qualname__, None, value) if is_failed else ("completed", token.__qualname__, value, None)
        )
        await rows(_MEMO, (shard, run_id, *outcome))
    elif dose.place != "input":
        await rows(_EVENT, (shard, run_id, run_id, value, dose.place))
    text = value if dose.place == "input" else msgspec.json.encode(good).decode()
    await rows(_RUN, (shard, run_id, text, 0 if dose.place == "input" else 1))


def _identities(doses: Sequence[Dose]) -> tuple[list[str], list[str]]:
    return (
        [str(dose.identity) for dose in doses if dose.place != "schedule"],
        [str(dose.identity) for dose in doses if dose.place == "schedule"],
    )


async def _have_ended(stage: Stage, doses: Sequence[Dose]) -> bool:
    fates = await stage.observer.rows(_FATES, _identities(doses))
    return len(fates) == len(doses) and all(_is_over(status, error) for _, status, error, _ in fates)


def _is_over(status: str, error: str | None) -> bool:
    return status in ("completed", "failed", "cancelled") or (status == "sleeping" and error is not None)


async def _judge(stage: Stage, doses: Sequence[Dose]) -> int:
    """How many have ended badly, as they should have."""
    places = {str(dose.identity): f"{dose.name} as {dose.place}" for dose in doses}
    ended = 0
    for run_id, status, error, takeovers in await stage.observer.rows(_FATES, _identities(doses)):
        what = places.get(run_id, "a schedule's input")
        if status == "completed" or error is None:
            stage.violated("I9", f"{what}: the run is {status}, with the reason {error}")
        elif takeovers:
            stage.violated("I11", f"{what}: {takeovers} workers died of it")
        else:
            ended += 1
    return ended
