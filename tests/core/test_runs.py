"""The states of a run are one table, and the statements keep to it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import psycopg
import pytest

from durable.core.runs import BEGINNINGS, TERMINAL, TRANSITIONS, RunKey, Status

ROOT = Path(__file__).parents[2]
QUERIES = ROOT / "durable" / "store" / "queries"
KEY = "greet_0:01920000-0000-7000-8000-000000000000"


def statements_that(pattern: str) -> set[str]:
    found = re.compile(pattern)
    return {
        path.relative_to(QUERIES).with_suffix("").as_posix()
        for path in QUERIES.rglob("*.sql")
        if found.search(path.read_text())
    }


def named(table: Iterable[frozenset[str]]) -> set[str]:
    return set().union(*table)


def test_every_statement_that_changes_a_status_is_in_the_table() -> None:
    assert named(TRANSITIONS.values()) == statements_that(r"UPDATE durable\.runs AS run\s+SET status =")


def test_every_statement_that_inserts_a_run_is_in_the_table() -> None:
    assert named(BEGINNINGS.values()) == statements_that(r"INSERT INTO durable\.runs\b")


def test_every_status_can_be_reached_and_only_a_retry_leads_out_of_an_end() -> None:
    reached = {*BEGINNINGS, *(new for _, new in TRANSITIONS)}
    assert reached == set(get_args(Status))
    assert {names for (old, _), names in TRANSITIONS.items() if old in TERMINAL} == {frozenset(("routing/retry_runs",))}
    assert "completed" not in {old for old, _ in TRANSITIONS}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (old, new)
        for old in get_args(Status)
        for new in get_args(Status)
        if old != new and (old, new) not in TRANSITIONS
    ],
)
def test_no_other_change_of_a_status_is_let_through(database: str, old: Status, new: Status) -> None:
    columns = {
        "running": "worker_id = gen_random_uuid()",
        "sleeping": "next_wake_at = now()",
        "waiting_event": "awaits = '{a}'",
        "completed": "completed_at = now(), output = '1'",
        "failed": "completed_at = now(), error = '{}'",
        "cancelled": "completed_at = now()",
        "queued": "priority = 0",
        "paused": "priority = 0",
    }
    nothing = "worker_id = NULL, next_wake_at = NULL, awaits = NULL, completed_at = NULL, output = NULL, error = NULL"
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input)"
            " VALUES ('w_0', gen_random_uuid(), 'w', 'null')"
        )
        connection.execute(f"UPDATE durable.runs SET status = '{old}', {columns[old]}".encode())
        kept = ", ".join(
            assignment
            for assignment in nothing.split(", ")
            if assignment.split(" = ")[0] not in columns[new].replace(",", "").split()
        )
        with pytest.raises(psycopg.errors.RaiseException, match=f"no run that is {old} becomes {new}"):
            connection.execute(f"UPDATE durable.runs AS run SET status = '{new}', {kept}, {columns[new]}".encode())


def test_no_run_is_let_in_that_has_not_just_begun(database: str) -> None:
    with (
        psycopg.connect(database) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="no run begins as"),
    ):
        connection.execute(
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input, status, completed_at)"
            " VALUES ('w_0', gen_random_uuid(), 'w', 'null', 'cancelled', now()) ON CONFLICT DO NOTHING"
        )


def test_the_architecture_shows_the_table() -> None:
    checked = subprocess.run(
        [sys.executable, ".ci/states.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_a_run_key_parses_what_it_prints() -> None:
    assert str(RunKey.parse(KEY)) == KEY


@pytest.mark.parametrize("text", ["", "greet_0", f"greet:{KEY[8:]}", f"greet_0:{KEY[8:-1]}A", f"{KEY} ", "a" * 1000])
def test_text_that_names_no_run_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a run key must look like"):
        RunKey.parse(text)


def test_a_run_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="a run key must be a str, got int"):
        RunKey.parse(7)  # type: ignore[arg-type]
