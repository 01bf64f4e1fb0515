"""Sync steps whose threads go on when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import contextlib
import time

from durable import RunNotCancellable
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, Facts, completed
from tests.faults.stage import Stage, fault
from tests.faults.workloads.hanging import REFUNDED, Charging, charging

_WORKERS = 3
_THREADS = 8
_GRACE = 1.0
_SLOW_SECONDS = (0.1, 2.5)
"""A run waits at least twice as long for a thread that was given up."""
_FOR_EVER_SECONDS = 120.0
_WAITED_SECONDS = 5.0
"""For at least so long a run waits for a thread, before it goes on beside it."""
_STOP_SECONDS = (3.0, 6.0)
_LONGEST_SECONDS = 20.0
_AT_ONCE = 12
_PATIENCE_SECONDS = 120.0
_HUNG = """
    SELECT count(*) FROM journal AS refund WHERE refund.step_key = 'refund' AND refund.what = 'start'
      AND EXISTS (SELECT FROM journal AS charge WHERE charge.run_id = refund.run_id AND charge.step_key = 'charge')
"""
_CALLS = """
    SELECT begun.run_id::text, begun.process_id, extract(epoch FROM begun.at)::float8,
           (SELECT min(extract(epoch FROM ended.at)::float8) FROM journal AS ended
            WHERE ended.run_id = begun.run_id AND ended.process_id = begun.process_id
              AND ended.step_key = 'charge' AND ended.what = 'done' AND ended.id > begun.id)
    FROM journal AS begun WHERE begun.step_key = 'charge' AND begun.what = 'start' ORDER BY begun.id
"""
_REFUNDS = """
    SELECT run_id::text, process_id, extract(epoch FROM min(at))::float8
    FROM journal WHERE step_key = 'refund' AND what = 'start' GROUP BY run_id, process_id
"""


async def _charge(life: Life) -> None:
    is_cancelled = life.random.random() < 0.5
    for_ever = life.random.random() < 0.15
    order = Charging(
        life.number(),
        _FOR_EVER_SECONDS if for_ever else life.random.uniform(*_SLOW_SECONDS),
        None if is_cancelled else life.random.uniform(0.1, 0.5),
        1 if for_ever else life.random.randint(1, 2),
    )
    run_key = await life.begin(charging, order, is_plain=True)
    assert run_key is not None
    if is_cancelled:
        await life.pause(1.5)
        with contextlib.suppress(RunNotCancellable):  # it had ended, or a try whose outcome was in doubt had done it
            await life.load.surely(lambda: life.client.cancel_run(run_key, "changed my mind"))
    await life.load.ended(run_key)


def _made_good(facts: Facts) -> str | None:
    if facts.status == "cancelled":
        if not facts.is_cancel_asked:
            return "it is cancelled, and nobody asked for that"
        if facts.done.get("charge") and "refund" not in facts.memos:
            return "it is cancelled, and its charge was not refunded"
        return None
    return completed(lambda _: REFUNDED if "refund" in facts.memos else facts.memo("charge"), str)(facts)


JUDGES["charging"] = _made_good


async def _no_refund_beside_its_charge(stage: Stage) -> None:
    calls: dict[str, list[tuple[int, float, float | None]]] = {}
    for run_id, process_id, begun_at, ended_at in await stage.observer.rows(_CALLS):
        earlier = calls.setdefault(run_id, [])
        for other, _, other_end in earlier:
            if other == process_id and (other_end is None or begun_at < other_end):
                stage.violated("I9", f"run {run_id} charges twice at once in worker {process_id}")
        earlier.append((process_id, begun_at, ended_at))
    for run_id, process_id, at in await stage.observer.rows(_REFUNDS):
        for other, begun_at, ended_at in calls.get(run_id, ()):
            goes_on = begun_at < at and (ended_at is None or at < ended_at)
            if other == process_id and goes_on and at < begun_at + _WAITED_SECONDS:
                stage.violated("I9", f"run {run_id} is refunded by worker {process_id}, which is still charging it")


@fault(
    row=29,
    how="steps in threads that go on after their timeout or their cancel, for seconds or as long as the worker lives;"
    f" workers with {_THREADS} threads are stopped by SIGTERM",
    target="0 refunds beside their charge, 0 tries beside one another; a worker ends within its grace period + 1 s",
    sizes={"smoke": 15, "campaign": 60, "soak": 4000},
    workers=_WORKERS,
    options={
        "workflows": "tests.faults.workloads.hanging:HANGING_WORKFLOWS",
        "graceful_shutdown_timeout": _GRACE,
        "max_threads": _THREADS,
    },
    recovery=_GRACE + 1.0,
    patience=60.0,
    verify=_no_refund_beside_its_charge,
)
async def hung_threads(stage: Stage) -> None:
    family = Family("charging", 1, _charge)
    stopping = asyncio.create_task(_stop_now_and_then(stage))
    running = {stage.load.start(family) for _ in range(_AT_ONCE)}
    try:
        while stage.count < stage.size and not stopping.done():
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            running |= {stage.load.start(family) for _ in range(_AT_ONCE - len(running))}
            stage.count = (await stage.observer.rows(_HUNG))[0][0]
        # A thread that hangs for ever is gone only with its worker.
        _, late = await asyncio.wait(running, timeout=_PATIENCE_SECONDS)
        if late:
            stage.violated("I2", f"{len(late)} runs with hung threads did not end within {_PATIENCE_SECONDS:g} s")
    finally:
        stopping.cancel()
        for end in await asyncio.gather(stopping, return_exceptions=True):
            if isinstance(end, Exception):
                raise end


async def _stop_now_and_then(stage: Stage) -> None:
    while True:
        await asyncio.sleep(stage.random.uniform(*_STOP_SECONDS))
        member = stage.random.choice(stage.fleet.alive)
        began = time.monotonic()
        member.terminate()
        if await member.ended(_GRACE + _LONGEST_SECONDS) is None:
            stage.violated("I11", f"worker {member.process_id} did not end after SIGTERM, whose threads hang")
        stage.recovered(time.monotonic() - began)
        stage.fleet.keep(_WORKERS)
