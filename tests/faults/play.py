"""One play of one fault, from an empty database to a judged result."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from random import Random

import msgspec
import psycopg

from tests.faults.load import Load
from tests.faults.observer import Observer
from tests.faults.oracle import Known, check_tables
from tests.faults.schedules import make_schedules, pause_schedules
from tests.faults.server import Server
from tests.faults.stage import Fault, Size, Stage, Violation
from tests.faults.worker import WorkerOptions

_WORKER_CONNECTIONS = 24
"""At most so many has one worker: its pools full, its lease, its listener, and a few that it is giving up."""
_OLDEST_SECONDS = 2.0
_SHORT_PLAY_SECONDS = 10.0
"""In a short play, what is older than two seconds is told, and only what is older than this counts: the disk of a
shared machine may stand still for seconds, and with it every commit."""
_LATE_SECONDS = 0.3
"""Of a machine on which the harness itself is woken later than that, a short play tells nothing about times."""
_STOP_SECONDS = 10.0
LONGEST_SECONDS: dict[Size, float] = {"smoke": 300.0, "campaign": 1800.0, "soak": 86400.0}
"""A play that is not over by then hangs: each takes less than a third of it."""
_LATE = "SELECT schedule_id FROM durable.schedules WHERE due_at < now() AND NOT paused AND problem IS NULL"
_HOW_IT_IS = """
    SELECT json_build_object('status', status, 'epoch', epoch, 'takeovers', takeovers, 'strikes', strikes,
                             'isolation', isolation, 'set_asides', set_asides, 'wakes in', next_wake_at - now(),
                             'is executed by', (SELECT process_id FROM identities WHERE worker_id = runs.worker_id))
    FROM durable.runs WHERE run_id = %s
"""
_MOST_NOTED = 20
_EXPECTED = ("step 'break' failed", "Terminal('withered')")
"""What workflows of the load fail of."""


class Result(msgspec.Struct, frozen=True):
    """``recoveries``: in seconds, sorted. ``postgres``: its version. ``errors``: of the workers' logs, for people.
    ``not_run``: why, if so."""

    name: str
    row: int
    how: str
    target: str
    size: Size
    seed: int
    injected: int
    runs: int
    seconds: float
    violations: list[Violation]
    recoveries: list[float]
    oldest_transaction: float
    errors: list[str]
    postgres: str = ""
    not_run: str | None = None
    notes: list[str] = []


def quantile(values: Sequence[float], share: float) -> float | None:
    """That share of the sorted values is not greater; ``None`` of none."""
    return values[min(int(len(values) * share), len(values) - 1)] if values else None


async def play(fault: Fault, size: Size, seed: int, server: Server, logs: Path) -> Result:
    """Raises nothing: what the fault's own code raises is a fault that is not evidenced."""
    random = Random(f"{seed} {fault.name}")
    database = f"{fault.name}_{seed}_{time.time_ns() % 10**9}"
    conninfo = server.create_database(database)
    log = logs / f"{fault.name}.log"
    log.unlink(missing_ok=True)
    options = msgspec.structs.replace(WorkerOptions(conninfo=conninfo, direct=conninfo, log=str(log)), **fault.options)
    load = Load(conninfo, random, fault.families, in_flight=fault.in_flight)
    stalls: dict[int, float] = {}
    observer = Observer(conninfo, stalls.keys)
    stage = Stage(
        fault, fault.sizes[size], random, server=server, options=options, load=load, observer=observer, stalls=stalls
    )
    started, runs = time.monotonic(), 0
    try:
        async with asyncio.timeout(LONGEST_SECONDS[size]):
            await _act(stage, size)
            runs = (await observer.rows("SELECT count(*) FROM durable.runs"))[0][0]
    except Exception:
        stage.violated("I13", f"the harness failed: {traceback.format_exc(limit=-5)}")
    finally:
        stage.fleet.close()
        await stage.exits.aclose()
        await observer.close()
    try:
        server.drop_database(database)
    except psycopg.Error as error:
        stage.violated("I13", f"the database is left behind: {error}")
    return Result(
        name=fault.name,
        row=fault.row,
        how=fault.how,
        target=fault.target,
        size=size,
        seed=seed,
        injected=stage.count,
        runs=runs,
        seconds=round(time.monotonic() - started, 1),
        violations=[each for each in stage.violations if each.invariant not in fault.excuses],
        recoveries=sorted(round(each, 3) for each in stage.recoveries),
        oldest_transaction=round(observer.oldest[0], 2),
        errors=_errors(log),
        postgres=server.version,
        notes=stage.notes,
    )


def not_played(fault: Fault, size: Size, seed: int, why: str) -> Result:
    """What is told of a fault that cannot be run on this machine."""
    return Result(
        name=fault.name,
        row=fault.row,
        how=fault.how,
        target=fault.target,
        size=size,
        seed=seed,
        injected=0,
        runs=0,
        seconds=0.0,
        violations=[],
        recoveries=[],
        oldest_transaction=0.0,
        errors=[],
        not_run=why,
    )


async def _act(stage: Stage, size: Size) -> None:
    fault = stage.fault
    sampling = asyncio.create_task(stage.observer.sample())
    try:
        async with stage.load.running():
            if fault.schedules:
                await make_schedules(stage.load.client, stage.load.surely)
            for _ in range(fault.workers):
                stage.fleet.spawn()
            await stage.settle()
            await fault.inject(stage)
            await _come_to_rest(stage)
        await _check_connections(stage)
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
    await stage.fleet.stop(stage.options.graceful_shutdown_timeout + _STOP_SECONDS)
    await _judge(stage, size)


async def _come_to_rest(stage: Stage) -> None:
    """Every run that the application knows of ends, and no schedule is late: liveness."""

    async def is_late() -> bool:
        return bool(await stage.observer.rows(_LATE))

    load, patience = stage.load, stage.fault.patience
    stage.fleet.keep(len(stage.fleet.members))
    for run_key in await load.finish(patience):
        how = await stage.observer.rows(_HOW_IT_IS, (run_key.run_id,))
        what = ", ".join(f"{name} {value}" for name, value in (how[0][0] if how else {}).items() if value is not None)
        stage.violated("I2", f"run {run_key} has not ended within {patience:g} s after the faults: {what or 'gone'}")
    if stage.fault.schedules:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await pause_schedules(load.client, load.surely, is_late)
                return
        stage.violated("I6", f"a schedule is late by {patience:g} s after the faults")


async def _check_connections(stage: Stage) -> None:
    async def are_at_rest() -> bool:
        rows = await stage.observer.rows(
            "SELECT (SELECT count(*) FROM durable.runs WHERE completed_at IS NULL), array_agg(n), array_agg(writer)"
            " FROM (SELECT substring(application_name FROM '^worker-([0-9]+)')::int AS writer, count(*) AS n"
            " FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'worker-%'"
            " GROUP BY 1) AS connections"
        )
        open_runs, counts, writers = rows[0]
        alive = {member.process_id for member in stage.fleet.alive}
        return open_runs == 0 and max(counts or [0]) <= _WORKER_CONNECTIONS and set(writers or []) <= alive

    await stage.until(are_at_rest, stage.fault.patience, "all runs ended, and no connection too many")


async def _judge(stage: Stage, size: Size) -> None:
    fault, load, rows = stage.fault, stage.load, stage.observer.rows
    known = Known(
        acknowledged={number: str(each.run_key) for number, each in load.acknowledged.items()},
        doubtful=load.doubtful,
        rolled_back=load.rolled_back,
        stalls=stage.stalls,
    )
    stage.violations += await check_tables(rows, known)
    stage.violations += [Violation("I2", f"a client was told: {what}") for what in load.problems]
    stage.violations += [Violation("I11", what) for what in stage.fleet.surprises]
    for run_id, status in await rows("SELECT run_id, status FROM durable.runs WHERE worker_id IS NOT NULL"):
        stage.violated("I11", f"run {run_id} is still owned after all workers stopped: {status}")
    age, what = stage.observer.oldest
    if age > _OLDEST_SECONDS:
        old = f"a transaction was {age:.1f} s old: {what}"
        if size == "smoke" and (age <= _SHORT_PLAY_SECONDS or stage.observer.lateness > _LATE_SECONDS):
            stage.noted(f"the harness itself was late by {stage.observer.lateness:.1f} s; {old}")
        else:
            stage.violated("I12", old)
    if fault.verify is not None:
        await fault.verify(stage)
    await _measure(stage)
    if fault.recovery is not None:
        slowest = quantile(sorted(stage.recoveries), 0.99)
        what = f"the 99th percentile of recovery is {slowest} s, the target {fault.recovery:g} s"
        if slowest is None or slowest > fault.recovery:
            if slowest is not None and size == "smoke":  # a few samples, of machines that do other things as well
                stage.noted(what)
            else:
                stage.violated("I10", what)
    if stage.count < stage.size:
        stage.violated("I13", f"{stage.count} faults were evidenced of {stage.size}")


async def _measure(stage: Stage) -> None:
    """How long each run that died with its worker was without an owner, from the history of the tables. A run that has
    lost several workers in a row waits for its trial on purpose; that is told apart."""
    found = await stage.observer.rows(
        """
        WITH moves AS MATERIALIZED (
            SELECT run_id, id, owner.process_id AS owner, writer, new_status,
                   extract(epoch FROM pg_xact_commit_timestamp(xid))::float8 AS at
            FROM transitions LEFT JOIN identities AS owner ON owner.worker_id = new_worker
        ), spans AS MATERIALIZED (
            SELECT run_id, id, owner, at, lead(at) OVER run AS until, lead(writer) OVER run AS ended_by
            FROM moves WINDOW run AS (PARTITION BY run_id ORDER BY id)
        )
        SELECT death.at, (SELECT min(next.at) FROM moves AS next
                          WHERE next.run_id = spans.run_id AND next.id > spans.id
                            AND next.new_status IN ('running', 'completed', 'failed', 'cancelled')),
               (SELECT next.new_status FROM moves AS next
                WHERE next.run_id = spans.run_id AND next.id > spans.id ORDER BY next.id LIMIT 1) = 'sleeping'
        FROM unnest(%s::int[], %s::float8[]) AS death (process_id, at)
        JOIN spans ON spans.owner = death.process_id AND spans.at <= death.at
         AND (spans.until IS NULL OR spans.until > death.at AND spans.ended_by <> death.process_id)
        """,
        ([process_id for process_id, _ in stage.deaths], [at for _, at in stage.deaths]),
    )
    tried: list[float] = []
    for died_at, again_at, is_suspect in found:
        if again_at is None:
            stage.violated("I10", "a run that died with its worker was never executed again")
        elif is_suspect:
            tried.append(again_at - died_at)
        else:
            stage.recovered(again_at - died_at)
    if tried:
        stage.noted(
            f"{len(tried)} times a run that had lost several workers in a row was tried apart, after"
            f" {quantile(sorted(tried), 0.5):.1f} s (p99 {quantile(sorted(tried), 0.99):.1f} s)"
        )


def _errors(log: Path) -> list[str]:
    """Distinct errors of the workers, without the numbers in them."""
    if not log.exists():
        return []
    text = log.read_text(errors="replace")
    lines = re.findall(r"^\S+ \S+ \d+ ERROR (.*)|^(\w[\w.]*(?:Error|Exception)\b.*)", text, re.MULTILINE)
    texts = (re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "…", one or other)[:200] for one, other in lines)
    unexpected = (line for line in texts if not any(each in line.replace("\\", "") for each in _EXPECTED))
    return list(dict.fromkeys(unexpected))[:_MOST_NOTED]
