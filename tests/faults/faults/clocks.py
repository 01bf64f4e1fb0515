"""Workers whose clocks are wrong, run at another rate, or step back."""

from __future__ import annotations

import asyncio
import sysconfig
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.faults.families import FAMILIES
from tests.faults.stage import Stage, fault

_LIBRARY = "libfaketimeMT.so.1"
_PLACES = (f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime")
_CLOCKS = (("+10m",), ("-10m",), ("+1h",), ("-1h",), ("+0 x1.2",), ("+0 x0.8",), ("+10m", "-10m"), ("+0", "-1h"))
"""As libfaketime reads them; of two, the clock steps from the one to the other."""
_AT_ONCE = 4
_WRONG_SECONDS = 0.3
_TRUE_SECONDS = 3.0
"""How long all clocks are right before, for comparison."""
_MOST_LATE_SECONDS = 1.0
_PATIENCE_SECONDS = 30.0
_TOLD = """
    SELECT count(*) FROM journal
    WHERE process_id = %s AND at > to_timestamp(%s) AND abs(extract(epoch FROM clock - at)) > %s
"""
_TICKS = """
    SELECT count(*), min(late), percentile_cont(0.95) WITHIN GROUP (ORDER BY late) FROM (
        SELECT extract(epoch FROM created_at - scheduled_at)::float8 AS late FROM durable.runs
        WHERE schedule_id IS NOT NULL AND scheduled_at BETWEEN to_timestamp(%s) AND to_timestamp(%s)) AS ticks
"""
_WAKES = """
    SELECT count(*), min(late), percentile_cont(0.95) WITHIN GROUP (ORDER BY late) FROM (
        SELECT extract(epoch FROM wait.satisfied_at - wait.wake_at)::float8 AS late
        FROM durable.waits AS wait JOIN durable.runs AS run USING (workflow_name_shard, run_id)
        JOIN writes AS wrote ON wrote.run_id = wait.run_id AND wrote.key = wait.wait_key AND NOT wrote.is_new
        WHERE run.workflow_name = 'sleepy' AND wait.satisfied_at IS NOT NULL
          AND (wrote.writer = ANY(%s)) = %s) AS wakes
"""
"""By those workers, or by all others."""


def _library() -> Path | None:
    return next((path for place in _PLACES if (path := Path(place) / _LIBRARY).exists()), None)


def _lacks_library() -> str | None:
    return None if _library() else "there is no libfaketime (Debian: apt-get install faketime)"


@fault(
    row=9,
    how="libfaketime in workers: ±10 min, ±1 h, rates of 0.8 and 1.2, steps back by 20 min and 1 h while they work",
    target=f"nothing early, no tick twice; 95 of 100 at most {_MOST_LATE_SECONDS:g} s later than with correct clocks",
    sizes={"smoke": 6, "campaign": 50, "soak": 800},
    workers=2,
    is_timed=True,
    in_flight=20,
    families=(*FAMILIES, *[family for family in FAMILIES if family.name == "sleepy"] * 5),
    lacks=_lacks_library,
)
async def clocks(stage: Stage) -> None:
    began = time.time()
    await asyncio.sleep(_TRUE_SECONDS)
    misled = time.time()
    wrong: list[int] = []
    left = [clock for _ in range(stage.size) for clock in stage.random.sample(_CLOCKS, len(_CLOCKS))][: stage.size]

    async def mislead() -> None:
        while left:
            await _mislead(stage, left.pop(), wrong)

    async with asyncio.TaskGroup() as misleading:
        for _ in range(min(_AT_ONCE, stage.size)):
            misleading.create_task(mislead())
    ((_, _, ticks_before),) = await stage.observer.rows(_TICKS, (began, misled))
    _compare(stage, "ticks", (await stage.observer.rows(_TICKS, (misled, time.time())))[0], ticks_before)
    ((_, _, wakes_by_others),) = await stage.observer.rows(_WAKES, (wrong, False))
    _compare(stage, "wakes by them", (await stage.observer.rows(_WAKES, (wrong, True)))[0], wakes_by_others)


def _compare(stage: Stage, what: str, found: tuple[int, float | None, float | None], usual: float | None) -> None:
    count, earliest, late = found
    if earliest is None or late is None or usual is None:
        stage.violated("I13", f"there were no {what} to be compared")
        return
    if earliest < 0:
        stage.violated("I6", f"of {count} {what} one was {-earliest} s early")
    if late > usual + _MOST_LATE_SECONDS:
        stage.violated("I10", f"of {count} {what} five of a hundred were {late:.2f} s late, else {usual:.2f} s")
    stage.noted(f"{count} {what}, 95 of 100 at most {late:.2f} s late, else {usual:.2f} s")


async def _mislead(stage: Stage, clock: tuple[str, ...], wrong: list[int]) -> None:
    """One worker lives with each of these clocks in turn, and tells in the journal what it takes for the time."""
    with TemporaryDirectory(prefix="durable-clock-") as directory:
        file = Path(directory) / "clock"
        file.write_text(clock[0])
        member = stage.fleet.spawn(
            environment={
                "LD_PRELOAD": str(_library()),
                "FAKETIME_TIMESTAMP_FILE": str(file),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        )
        wrong.append(member.process_id)
        told = 0
        for setting in clock:
            file.write_text(setting)
            since, least = time.time(), 0.0 if setting == "+0" else _WRONG_SECONDS

            async def has_told(since: float = since, least: float = least) -> bool:
                rows = await stage.observer.rows(_TOLD, (member.process_id, since, least))
                return bool(rows[0][0])

            told += await stage.until(has_told, _PATIENCE_SECONDS, f"a worker whose clock is {setting} works")
            await asyncio.sleep(stage.random.uniform(0.5, 3.0))
        stage.injected(told == len(clock))
        member.terminate()
        await member.ended(stage.options.graceful_shutdown_timeout + 5.0)
        stage.fleet.collect()
