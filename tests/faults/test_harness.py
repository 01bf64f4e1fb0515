"""An oracle that cannot fail is no evidence: what is planted here, it must find."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, LiteralString

import msgspec
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from durable import Worker
from tests.faults import play as play_module
from tests.faults.effects import journal
from tests.faults.families import FAMILIES
from tests.faults.load import Load
from tests.faults.observer import Observer
from tests.faults.oracle import Known, check_tables
from tests.faults.play import LONGEST_SECONDS, play
from tests.faults.schedules import make_schedules, pause_schedules
from tests.faults.server import Server
from tests.faults.stage import Fault, Stage
from tests.faults.workload import WORKFLOWS

_LEAST_ENDS = 120


class Healthy(msgspec.Struct, frozen=True):
    """A database in which the workload has run without a fault."""

    conninfo: str
    known: Known


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def lost_server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="module")
def healthy(server: Server) -> Healthy:
    return asyncio.run(_work(server.create_database("healthy")))


async def _work(conninfo: str) -> Healthy:
    journal.conninfo = conninfo
    load = Load(conninfo, Random(3), FAMILIES)
    observer = Observer(conninfo, tuple)

    async def is_early() -> bool:
        rows = await observer.rows(
            "SELECT run_id FROM durable.runs WHERE schedule_id = 'often' AND completed_at IS NOT NULL"
        )
        return len(rows) < 3

    name = f"worker-{os.getpid()}"
    async with load.running(), Worker(make_conninfo(conninfo, application_name=name), WORKFLOWS):
        await make_schedules(load.client, load.surely)
        while load.ends < _LEAST_ENDS:
            await asyncio.sleep(0.05)
        assert await load.finish(30) == []
        await pause_schedules(load.client, load.surely, is_early)
    await observer.close()
    await journal.close()
    assert load.problems == []
    acknowledged = {number: str(each.run_key) for number, each in load.acknowledged.items()}
    return Healthy(conninfo, Known(acknowledged, load.doubtful, load.rolled_back))


async def found(healthy: Healthy, doctored: LiteralString = "", known: Known | None = None) -> set[str]:
    """The invariants that are violated once that SQL has been run; it is rolled back."""
    async with await psycopg.AsyncConnection.connect(healthy.conninfo, application_name="worker-1") as connection:

        async def rows(statement: str, params: Any = None) -> list[Any]:
            cursor = await connection.execute(statement.encode(), params)
            return await cursor.fetchall()

        if doctored:
            await connection.execute(doctored)
        violations = await check_tables(rows, known or healthy.known)
        await connection.rollback()
        return {violation.invariant for violation in violations}


async def test_a_workload_without_a_fault_violates_nothing(healthy: Healthy) -> None:
    assert await found(healthy) == set()


_ANY_STEP = "(SELECT run_id, step_key, process_id FROM journal WHERE what = 'done' ORDER BY id LIMIT 1)"
_ANY_RUN = "(SELECT run_id FROM durable.runs WHERE workflow_name = 'transfer' ORDER BY run_id LIMIT 1)"


@pytest.mark.parametrize(
    ("invariant", "doctored"),
    [
        (
            "I1",
            (
                "INSERT INTO journal (run_id, step_key, what, process_id, at)"
                f" SELECT run_id, step_key, 'start', process_id, now() + interval '1 hour' FROM {_ANY_STEP} AS step"
            ),
        ),
        ("I2", "INSERT INTO orders (number) VALUES (1000000)"),
        ("I2", f"DELETE FROM durable.runs WHERE run_id = {_ANY_RUN}"),
        (
            "I2",
            f"UPDATE durable.runs SET status = 'queued', output = NULL, completed_at = NULL WHERE run_id = {_ANY_RUN}",
        ),
        ("I2", "UPDATE durable.runs SET input = '{\"number\": 1000000}' WHERE workflow_name = 'effects'"),
        ("I3", f"UPDATE durable.runs SET output = '[1, 2]' WHERE run_id = {_ANY_RUN}"),
        (
            "I3",
            (
                "INSERT INTO transitions (run_id, old_status, new_status, old_epoch, new_epoch, is_rewritten)"
                " SELECT run_id, 'running', 'completed', epoch, epoch, false FROM durable.runs"
                f" WHERE run_id = {_ANY_RUN}"
            ),
        ),
        (
            "I4",
            (
                "UPDATE durable.events SET consumed_by = NULL WHERE event_id ="
                " (SELECT event_id FROM durable.events WHERE kind = 'event' AND consumed_by IS NOT NULL LIMIT 1)"
            ),
        ),
        (
            "I4",
            "UPDATE durable.waits SET satisfied_at = wake_at - interval '5 ms' WHERE wait_key = 'nap'",
        ),
        (
            "I4",
            "UPDATE durable.waits SET wake_at = wake_at + interval '1 hour' WHERE wait_key = 'asyncio:timer:1'",
        ),
        (
            "I4",
            (
                "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload, created_at)"
                " SELECT workflow_name_shard, run_id, gen_random_uuid(), 'decide', '1', wake_at - interval '1 minute'"
                " FROM durable.waits WHERE timed_out AND wait_type = 'event' LIMIT 1"
            ),
        ),
        (
            "I4",
            (
                "WITH sleeper AS (UPDATE durable.runs SET status = 'waiting_event', awaits = '{go}', output = NULL,"
                f" completed_at = NULL WHERE run_id = {_ANY_RUN} RETURNING workflow_name_shard, run_id)"
                " INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload)"
                " SELECT workflow_name_shard, run_id, gen_random_uuid(), 'go', '1' FROM sleeper"
            ),
        ),
        ("I4", "UPDATE durable.waits SET seq = 1000 - seq WHERE event_name IN ('a', 'b')"),
        (
            "I2",
            (
                "DELETE FROM durable.steps WHERE kind = 'child' AND run_id ="
                " (SELECT run_id FROM durable.steps WHERE kind = 'child' LIMIT 1)"
            ),
        ),
        (
            "I2",
            (
                "UPDATE durable.steps SET output = to_json(replace(output #>> '{}', 'leaf', 'life'))"
                " WHERE kind = 'child' AND output #>> '{}' LIKE 'leaf%'"
            ),
        ),
        ("I2", "UPDATE durable.steps SET child_run_id = gen_random_uuid() WHERE kind = 'child'"),
        ("I4", "DELETE FROM durable.events WHERE kind = 'child'"),
        ("I4", "UPDATE durable.events SET child_status = 'failed' WHERE kind = 'child'"),
        ("I4", "UPDATE durable.events SET payload = '{\"status\": \"lost\"}' WHERE kind = 'child'"),
        ("I5", "UPDATE accounts SET balance = balance + 1 WHERE account = 1"),
        (
            "I5",
            (
                "INSERT INTO ledger (workflow_name_shard, run_id, entry, account, amount)"
                f" SELECT workflow_name_shard, run_id, entry, account, amount FROM ledger WHERE run_id = {_ANY_RUN}"
            ),
        ),
        (
            "I6",
            (
                "DELETE FROM durable.runs WHERE schedule_id = 'often' AND scheduled_at ="
                " (SELECT min(scheduled_at) FROM durable.runs WHERE schedule_id = 'often')"
            ),
        ),
        ("I6", "UPDATE durable.runs SET scheduled_at = scheduled_at + interval '1 ms' WHERE schedule_id = 'often'"),
        ("I7", "UPDATE durable.steps SET seq = seq"),
        ("I7", "UPDATE transitions SET writer = 1 WHERE new_status = 'completed'"),
        ("I8", "UPDATE transitions SET new_epoch = new_epoch + 1 WHERE new_status = 'running'"),
        ("I8", "UPDATE transitions SET old_worker = gen_random_uuid() WHERE new_status = 'running'"),
        ("I9", "UPDATE durable.runs SET output = '[]' WHERE workflow_name = 'effects'"),
        ("I9", "UPDATE durable.steps SET output = '\"invented\"' WHERE kind = 'execute' AND error IS NULL"),
        ("I9", "UPDATE durable.runs SET output = '[]' WHERE workflow_name = 'parent' AND status = 'completed'"),
        ("I9", "DELETE FROM durable.waits WHERE wait_key LIKE 'asyncio:timer:%' AND wait_key > 'asyncio:timer:2'"),
        (
            "I9",
            (
                "INSERT INTO durable.waits"
                " (workflow_name_shard, run_id, wait_key, wait_type, wake_at, satisfied_at, seq)"
                " SELECT shard, run, 'asyncio:timer:3', 'timer', now(), now(), 1"
                " FROM (SELECT workflow_name_shard, run_id, step_key, seq FROM durable.steps UNION ALL"
                "       SELECT workflow_name_shard, run_id, wait_key, seq FROM durable.waits)"
                " AS answer (shard, run, key, seq)"
                " WHERE key = 'race 0' AND seq IS NOT NULL ON CONFLICT DO NOTHING"
            ),
        ),
        ("I9", "UPDATE durable.waits SET seq = seq + 1000 WHERE wait_type = 'timer' AND seq IS NOT NULL"),
        ("I9", "DELETE FROM durable.events WHERE kind = 'cancel'"),
        (
            "I9",
            (
                "INSERT INTO journal (run_id, step_key, what, value, process_id) SELECT run_id, step_key, what, '', 1"
                " FROM journal WHERE step_key = 'once' AND what = 'done' ORDER BY id LIMIT 1"
            ),
        ),
        ("I9", "UPDATE durable.runs SET status = 'failed', output = NULL, error = '{}' WHERE workflow_name = 'sleepy'"),
        (
            "I9",
            (
                "INSERT INTO writes (run_id, relation, key, is_new, epoch)"
                f" SELECT run_id, 'steps', step_key, true, 1 FROM {_ANY_STEP} AS step"
            ),
        ),
    ],
)
async def test_a_planted_violation_is_found(healthy: Healthy, invariant: str, doctored: LiteralString) -> None:
    assert invariant in await found(healthy, doctored)


async def test_a_begin_that_was_confirmed_and_is_not_there_is_found(healthy: Healthy) -> None:
    known = msgspec.structs.replace(healthy.known, acknowledged={**healthy.known.acknowledged, 1_000_000: "lost"})
    assert await found(healthy, known=known) == {"I2"}


async def test_a_begin_that_was_rolled_back_and_is_there_is_found(healthy: Healthy) -> None:
    known = msgspec.structs.replace(healthy.known, rolled_back={min(healthy.known.acknowledged)})
    assert await found(healthy, known=known) == {"I2"}


async def test_what_a_process_starts_just_after_it_was_out_of_the_world_is_no_violation(healthy: Healthy) -> None:
    again: LiteralString = (
        "INSERT INTO journal (run_id, step_key, what, process_id, at)"
        " SELECT run_id, step_key, 'start', 77, to_timestamp(4000000000) FROM journal WHERE what = 'done' LIMIT 1"
    )
    assert await found(healthy, again) == {"I1"}
    known = msgspec.structs.replace(healthy.known, stalls={77: 3_999_999_999.0})
    assert await found(healthy, again, known) == set()


async def _nothing(stage: Stage) -> None:
    return None


async def _much(stage: Stage) -> None:
    """Each thing that no table tells of, and no evidence."""
    victim = stage.fleet.members[0]
    os.kill(victim.process_id, signal.SIGKILL)
    await victim.ended(5)
    stage.recovered(60.0)
    async with await psycopg.AsyncConnection.connect(stage.options.direct, application_name="worker-1") as connection:
        await connection.execute("SELECT pg_sleep(2.5)")


def _fault(inject: Any, **facts: Any) -> Fault:
    return Fault(
        name="planted", row=0, how="", target="", sizes={"smoke": 1, "campaign": 1, "soak": 1}, inject=inject, **facts
    )


async def test_a_fault_without_evidence_fails_and_nothing_else_is_wrong(server: Server, tmp_path: Path) -> None:
    result = await play(_fault(_nothing, workers=2), "smoke", 1, server, tmp_path)

    assert {violation.invariant for violation in result.violations} == {"I13"}
    assert result.runs > 0


async def test_a_late_recovery_a_death_and_an_old_transaction_are_found(server: Server, tmp_path: Path) -> None:
    result = await play(_fault(_much, workers=2, recovery=1.0), "campaign", 1, server, tmp_path)

    assert {violation.invariant for violation in result.violations} == {"I10", "I11", "I12", "I13"}


async def test_in_smoke_a_late_recovery_is_told_and_all_else_fails(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play_module, "_SHORT_PLAY_SECONDS", 2.0)
    result = await play(_fault(_much, workers=2, recovery=1.0), "smoke", 1, server, tmp_path)

    assert {violation.invariant for violation in result.violations} == {"I11", "I12", "I13"}
    assert "99th percentile of recovery is 60.0 s" in " ".join(result.notes)


async def test_a_fault_whose_own_code_breaks_fails(server: Server, tmp_path: Path) -> None:
    async def broken(stage: Stage) -> None:
        raise LookupError("no such failpoint")

    result = await play(_fault(broken, workers=1), "smoke", 1, server, tmp_path)

    assert [violation.invariant for violation in result.violations] == ["I13"]
    assert "no such failpoint" in result.violations[0].what


async def test_a_server_that_never_answers_again_ends_the_play_and_says_where_it_hung(
    lost_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def waiting_for_ever(stage: Stage) -> None:
        await stage.server.stop()
        await stage.observer.rows("SELECT 1")

    monkeypatch.setitem(LONGEST_SECONDS, "smoke", 5.0)
    result = await play(_fault(waiting_for_ever, workers=1), "smoke", 1, lost_server, tmp_path)

    assert [violation.invariant for violation in result.violations] == ["I13", "I13"]
    assert "in waiting_for_ever" in result.violations[0].what
    assert "the database is left behind" in result.violations[1].what


async def test_what_is_not_so_in_time_is_a_violation_even_if_nobody_answers(tmp_path: Path, server: Server) -> None:
    async def never() -> bool:
        await asyncio.Event().wait()
        return True

    async def asking(stage: Stage) -> None:
        assert not await stage.until(never, 0.1, "somebody answers")
        stage.injected()

    result = await play(_fault(asking, workers=1), "smoke", 1, server, tmp_path)

    assert [violation.what for violation in result.violations] == ["not within 0.1 s: somebody answers"]
