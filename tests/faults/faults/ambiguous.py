"""Every statement of the engine in turn is executed, and its answer never comes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from durable import AsyncClient, Cron, ResultTimeout, ScheduleNotFound
from durable.store.routing import MAX_SEEN
from tests.faults.doubt import STATEMENTS, Doubt, doubting
from tests.faults.failpoints import evidence
from tests.faults.families import FAMILIES
from tests.faults.fleet import Member
from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, completed
from tests.faults.stage import Stage, fault
from tests.faults.workload import ticking
from tests.faults.workloads.lingering import Lingering, lingering, suspected
from tests.proxy import Proxy

_DOUBTFUL = 4
_AT_ONCE = 6
_LINGER_SECONDS = 2.4
_DESKS = 3
_WIRED = 2
_SILENT_SECONDS = 0.3
_NOTICED_SECONDS = 2.0
"""Until it is answered again on new connections."""
_HEARD_SECONDS = 4.5
"""In which a worker finds that a connection is silent for good."""
_REPLACE_SECONDS = (0.5, 1.5)
_SELDOM_SECONDS = (3.0, 6.0)
_LIMIT_SECONDS = 60.0
_LIMIT_SECONDS_EACH = 0.3
_TRIAL_SECONDS = 0.4
_OUTLIVE_SECONDS = 0.8
_CAUSE_SECONDS = (0.3, 0.8)
_SELDOM = Cron("0 0 29 2 *")
_LEAP_YEARS = (datetime(2015, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))

_AFTER = {
    "transaction_steps/lock_run": "transaction_steps/store_transaction_memo",
    "transaction_steps/find_transaction_memo": "transaction_steps/store_transaction_memo",
}
"""What is asked only where the answer to another was lost."""
_BY_COMING_AND_GOING = frozenset(
    (
        "settings/find_settings",
        "settings/read_settings",
        "sessions/hold_lock",
        "workers/register_worker",
        "workers/remove_worker",
        "takeovers/owns_runs",
        "takeovers/take_over_runs",
        "sessions/end_sessions",
        "takeovers/orphan_owners",
    )
)
"""What is asked by workers that come, and by those who see one go."""
_RARE = ("cancelled parent", "failing")
"""Families whose statements no others bring about."""
_LOST = "SELECT substring(name FROM 6), count(*) FROM evidence WHERE name LIKE 'lost %' GROUP BY 1"
_UNWRITABLE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'this run cannot be written'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON durable.runs FOR EACH ROW
        WHEN (new.schedule_id = 'unwritable') EXECUTE FUNCTION refuse()
"""
_MAKE = """
    INSERT INTO durable.schedules (schedule_id, workflow_name, expression, next_tick_at)
    VALUES ('unreadable', 'ticking', 'whenever', now()), ('unwritable', 'ticking', '@every 1000h', now())
    ON CONFLICT (schedule_id) DO UPDATE SET problem = NULL, due_at = now(), next_tick_at = now()
"""
_REMOVE = (
    "DELETE FROM durable.schedules WHERE schedule_id IN ('unreadable', 'unwritable')",
    "DELETE FROM durable.events WHERE name = 'for nobody'",
    "UPDATE durable.settings SET raising_to = NULL",
)
_SUSPECT = """
    UPDATE durable.runs SET isolation = 'alone', strikes = 3
    WHERE workflow_name = 'suspected' AND status = 'sleeping' AND isolation IS NULL
"""
_ORPHANS = f"""
    INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload)
    SELECT 'listening_0', gen_random_uuid(), gen_random_uuid(), 'for nobody', '1' FROM generate_series(1, {MAX_SEEN})
"""
"""Only so many keep routing from others."""
_RAISE = "UPDATE durable.settings SET raising_to = shard_count"
_CAUSES = {"settings/lock_names": _RAISE, "routing/dismiss_orphans": _ORPHANS}
"""What makes the engine ask statements for which there is no cause otherwise."""

JUDGES["lingering"] = completed(lambda facts: facts.memo("linger"), float)
JUDGES["suspected"] = completed(lambda facts: facts.memo("outlive"), str)


async def _linger(life: Life) -> None:
    run_key = await life.begin(lingering, Lingering(life.number(), _LINGER_SECONDS), is_plain=True)
    assert run_key is not None
    await life.load.ended(run_key)


async def _outlive(life: Life) -> None:
    run_key = await life.begin(suspected, Lingering(life.number(), _OUTLIVE_SECONDS), is_plain=True)
    assert run_key is not None
    await life.load.ended(run_key)


@fault(
    row=7,
    how=f"each of the engine's {len(STATEMENTS)} statements is executed and its transaction committed, in a worker or a"
    " client, but the connection breaks in place of the answer",
    target="each statement × 50; 0 duplicates, 0 losses",
    sizes={"smoke": len(STATEMENTS), "campaign": 50 * len(STATEMENTS), "soak": 500 * len(STATEMENTS)},
    workers=1,
    families=(*FAMILIES, *(msgspec.structs.replace(each, weight=3) for each in FAMILIES if each.name in _RARE)),
    options={
        "workflows": "tests.faults.workloads.lingering:LINGERING_WORKFLOWS",
        "max_resident": 8,
        "trial_seconds": _TRIAL_SECONDS,
    },
    patience=60.0,
    # What lingers is a transaction of the workload.
    excuses=frozenset({"I12"}),
)
async def ambiguous(stage: Stage) -> None:
    times = max(1, stage.size // len(STATEMENTS))
    await stage.observer.rows(_UNWRITABLE)
    doubtful = [_spawn(stage, _share(stage, dict.fromkeys(STATEMENTS, times))) for _ in range(_DOUBTFUL)]
    desk = Doubt(dict.fromkeys(STATEMENTS, times), stage.random.getrandbits(32), most_between=2)
    with doubting(desk, lambda name: evidence(stage.options.direct, f"lost {name}")):
        is_over = asyncio.Event()
        desks = [asyncio.create_task(_operate(stage, number, is_over)) for number in range(_DESKS)]
        others = [asyncio.create_task(each(stage)) for each in (_make_bad_schedules, _let_linger, _suspect)]
        missing = dict.fromkeys(STATEMENTS, times)
        others += [asyncio.create_task(_cause(stage, name, lambda: missing)) for name in _CAUSES]
        others += [asyncio.create_task(_silence(stage, times)) for _ in range(_WIRED)]
        try:
            async with asyncio.timeout(_LIMIT_SECONDS + _LIMIT_SECONDS_EACH * stage.size):
                while missing := await _missing(stage, times):
                    is_soon = not _BY_COMING_AND_GOING.isdisjoint(missing)
                    await asyncio.sleep(stage.random.uniform(*(_REPLACE_SECONDS if is_soon else _SELDOM_SECONDS)))
                    _replace_one(stage, doubtful, missing)
        except TimeoutError:
            pass  # what is missing is told below
        finally:
            is_over.set()
            for task in others:
                task.cancel()
            ends = await asyncio.gather(*others, return_exceptions=True)
            await asyncio.gather(*desks)
    for broken in (end for end in ends if isinstance(end, Exception)):
        raise broken
    for statement in _REMOVE:
        await stage.observer.rows(statement)
    lost = dict(await stage.observer.rows(_LOST))
    for name in STATEMENTS:
        if lost.get(name, 0) < times:
            stage.violated("I13", f"the answer to {name} was lost {lost.get(name, 0)} times of {times}")
    stage.injected(sum(lost.values()))
    for member in doubtful:
        member.terminate()
    for member in doubtful:
        await member.ended(stage.options.graceful_shutdown_timeout + 5)


async def _missing(stage: Stage, times: int) -> dict[str, int]:
    lost = dict(await stage.observer.rows(_LOST))
    return {name: times - lost.get(name, 0) for name in STATEMENTS if lost.get(name, 0) < times}


def _share(stage: Stage, times: dict[str, int]) -> dict[str, int]:
    """What one of the doubtful workers is to lose, on average."""
    share = {name: count / _DOUBTFUL + stage.random.random() for name, count in times.items()}
    return {name: int(count) for name, count in share.items() if count >= 1}


def _spawn(stage: Stage, times: dict[str, int]) -> Member:
    for name, cause in _AFTER.items():
        if name in times:
            times[cause] = max(times[name], times.get(cause, 0))
    doubt = Doubt(times, stage.random.getrandbits(32))
    return stage.fleet.spawn(msgspec.structs.replace(stage.options, doubt=doubt))


def _replace_one(stage: Stage, doubtful: list[Member], missing: dict[str, int]) -> None:
    """Kills or stops a worker; the one in its place is to lose what is missing still."""
    victim = doubtful.pop(0)
    if stage.random.random() < 0.5:
        victim.kill()
    else:
        victim.terminate()
    doubtful.append(_spawn(stage, {name: -(-count // 2) for name, count in missing.items()}))
    stage.fleet.collect()


async def _silence(stage: Stage, times: int) -> None:
    """A worker behind a network that forgets connections: only there is one ended at the server."""
    async with Proxy(stage.options.direct) as proxy:
        doubt = Doubt({"sessions/end_backend": times}, stage.random.getrandbits(32), most_between=1)
        member = stage.fleet.spawn(msgspec.structs.replace(stage.options, conninfo=proxy.conninfo, doubt=doubt))
        try:
            while True:
                await asyncio.sleep(_HEARD_SECONDS)
                proxy.forget()  # else what was silenced would fill the server
                proxy.silence()
                await asyncio.sleep(_SILENT_SECONDS)
                proxy.speak()
                # It was cut off, and its connections are gone with that: others may have taken it for dead.
                stage.stalled(member.process_id, time.time() + _NOTICED_SECONDS)
        finally:
            member.kill()


async def _let_linger(stage: Stage) -> None:
    await _keep_going(stage, Family("lingering", 1, _linger))


async def _suspect(stage: Stage) -> None:
    """Runs are put on trial as if they had lost some workers."""
    running = asyncio.create_task(_keep_going(stage, Family("suspected", 1, _outlive)))
    try:
        while True:
            await stage.observer.rows(_SUSPECT)
            await asyncio.sleep(0.05)
    finally:
        running.cancel()


async def _cause(stage: Stage, name: str, missing: Callable[[], dict[str, int]]) -> None:
    while name in missing():
        await stage.observer.rows(_CAUSES[name])
        await asyncio.sleep(stage.random.uniform(*_CAUSE_SECONDS))


async def _keep_going(stage: Stage, family: Family) -> None:
    running: set[asyncio.Task[None]] = set()
    while True:
        running.add(stage.load.start(family))
        if len(running) == _AT_ONCE:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)


async def _make_bad_schedules(stage: Stage) -> None:
    while True:
        await stage.observer.rows(_MAKE)
        await asyncio.sleep(stage.random.uniform(0.2, 0.6))


async def _operate(stage: Stage, desk: int, is_over: asyncio.Event) -> None:
    """All that a client can ask beside what the load asks, each time with a client that knows nothing yet."""
    for number in itertools.count():
        if is_over.is_set():
            return
        async with AsyncClient(stage.options.direct) as client:
            for operation in _operations(client, f"seldom {desk} {number}"):
                await stage.load.surely(operation)


def _operations(client: AsyncClient, schedule_id: str) -> list[Callable[[], Awaitable[object]]]:
    async def look() -> None:
        runs = await client.list_runs(limit=2)
        await client.list_runs(before=runs[-1].run_key, limit=2)
        await client.get_run_info(runs[0].run_key)

    async def delete() -> None:
        with contextlib.suppress(ScheduleNotFound):  # a try whose outcome was in doubt had done it
            await client.delete_schedule(schedule_id)

    async def trigger() -> None:
        handle = client.handle(await client.trigger_schedule(schedule_id), ticking)
        with contextlib.suppress(ResultTimeout):
            await handle.result(timeout=0)

    return [
        look,
        lambda: client.schedule(ticking, None, schedule_id, _SELDOM, run_now=True),
        lambda: client.pause_schedule(schedule_id),
        lambda: client.resume_schedule(schedule_id),
        client.list_schedules,
        trigger,
        lambda: client.backfill_schedule(schedule_id, *_LEAP_YEARS),
        delete,
    ]
