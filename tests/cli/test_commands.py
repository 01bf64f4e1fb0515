"""The command line as people use it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from durable import Client
from durable.cli import main
from durable.store.migrations import latest_version
from tests.worker.processes import until

ROOT = Path(__file__).parents[2]
LATEST = latest_version()
ALL = ", ".join(map(str, range(1, LATEST + 1)))


def durable(*arguments: str, dsn: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from durable.cli import main; raise SystemExit(main())", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "DURABLE_DATABASE_URL": dsn, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_migrate_says_what_it_did_and_can_be_repeated(bare_database: str) -> None:
    first = durable("migrate", "--shards", "4", dsn=bare_database)
    assert (first.returncode, first.stdout) == (0, f"schema 'durable' has version {LATEST}: applied {ALL}\n")
    second = durable("migrate", dsn=bare_database)
    assert (second.returncode, second.stdout) == (0, f"schema 'durable' has version {LATEST}: nothing to do\n")
    with psycopg.connect(bare_database) as connection:
        assert connection.execute("SELECT shard_count FROM durable.settings").fetchone() == (4,)


def test_the_printed_schema_is_what_migrate_would_make(bare_database: str) -> None:
    printed = durable("schema", "--schema", "Mine", dsn=bare_database)
    assert printed.returncode == 0
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
    again = durable("migrate", "--schema", "Mine", dsn=bare_database)
    assert again.stdout == f"schema 'Mine' has version {LATEST}: nothing to do\n"


def test_the_schema_can_be_printed_with_what_distributes_it() -> None:
    shown = durable("schema", "--schema", "Mine", "--citus", dsn="")
    assert shown.returncode == 0
    assert """create_distributed_table('"Mine".steps', 'workflow_name_shard', colocate_with => """ in shown.stdout


def test_a_database_without_citus_cannot_be_distributed_over_it(database: str) -> None:
    refused = durable("migrate", "--citus", dsn=database)
    assert refused.returncode == 1
    assert "extension citus" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("schema", ["a; DROP TABLE x", 'a"b', "pg_mine", "", "x" * 64, "1a", "a.b"])
def test_a_bad_schema_name_is_refused(bare_database: str, schema: str) -> None:
    refused = durable("migrate", "--schema", schema, dsn=bare_database)
    assert refused.returncode == 1
    assert "schema must be" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_worker_on_a_database_without_our_schema_says_so_at_once(bare_database: str) -> None:
    refused = durable("worker", "tests.worker.processes:three_steps", dsn=bare_database)
    assert refused.returncode == 1
    assert "durable migrate" in refused.stderr


def test_a_worker_runs_until_it_is_told_to_stop(database: str) -> None:
    command = [sys.executable, "-c", "from durable.cli import main; raise SystemExit(main())"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DURABLE_DATABASE_URL": database, "TEST_DSN": database}
    with subprocess.Popen([*command, "worker", "tests.worker.processes:WORKFLOWS"], env=environment) as worker:
        try:
            with psycopg.connect(database, autocommit=True) as connection:
                until(lambda: connection.execute("SELECT 1 FROM durable.workers").fetchone())
            with Client(database) as client:
                assert client.list_runs() == []
        finally:
            worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0


@pytest.mark.parametrize("name", ["nowhere:workflow", "os:path", "tests.worker.processes:nothing", "plain"])
def test_a_worker_that_cannot_find_its_workflows_says_which(
    name: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["worker", name, "--dsn", database]) == 1
    assert name in capsys.readouterr().err


def test_a_worker_that_is_given_only_a_module_is_told_what_to_write(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["worker", "tests.worker.processes", "--dsn", database]) == 1
    said = capsys.readouterr().err
    assert "a module and one of its attributes, such as tests.worker.processes:" in said
    assert "''" not in said


@pytest.mark.parametrize("safe_path", ["", "1"])
def test_the_working_directory_is_searched_unless_python_was_told_not_to(safe_path: str, tmp_path: Path) -> None:
    (tmp_path / "lying_here.py").write_text("raise ValueError('imported from the working directory')")
    code = "import sys; sys.path.remove('') if '' in sys.path else None; from durable.cli.worker import load; "
    shown = subprocess.run(
        [sys.executable, "-c", code + "load(['lying_here:flow'])"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": safe_path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("imported from the working directory" in shown.stderr) == (not safe_path)


def test_prune_says_what_it_deleted(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, status, input, output, completed_at)"
            " SELECT name || '_0', gen_random_uuid(), name, 'completed', '1', '1', now() - interval '36 h'"
            " FROM unnest(array_fill('old'::text, ARRAY[1200]) || '{other}') AS name"
        )
    told = [
        durable("prune", *options, dsn=database).stdout
        for options in (
            ["--older-than", "2d"],
            ["--older-than", "1d", "--workflow", "other"],
            ["--older-than", "1.5h"],
            ["--older-than", "0s"],
        )
    ]
    assert told == [
        "deleted 0 runs that ended more than 2d ago\n",
        "deleted 1 run that ended more than 1d ago\n",
        "deleted 1,200 runs that ended more than 1.5h ago\n",
        "deleted 0 runs that ended more than 0s ago\n",
    ]


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "30 d", "1h30m", "1e9d", "99999999999d", "٣d"])
def test_an_age_that_is_none_is_refused(age: str, database: str) -> None:
    refused = durable("prune", f"--older-than={age}", dsn=database)
    assert refused.returncode == 1
    assert "older" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_prune_without_an_age_deletes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune"]) == 2
    assert "--older-than" in capsys.readouterr().err


def test_the_demo_proves_what_it_claims_and_leaves_nothing_behind(server_dsn: str) -> None:
    shown = durable("demo", "--runs", "60", dsn=server_dsn)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stdout.count("│ holds") == 6
    assert "DOES NOT HOLD" not in shown.stdout
    with psycopg.connect(server_dsn) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'durable_demo_%'").fetchall()
    assert rows == []


@pytest.mark.parametrize("verb", [["demo"], ["migrate"], ["prune", "--older-than", "30d"]])
def test_a_verb_that_cannot_reach_the_database_says_why_and_shows_no_traceback(
    verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb, "--dsn", "postgresql://127.0.0.1:1/nowhere"]) == 1
    assert capsys.readouterr().err.startswith("durable: connection failed")


def test_the_demo_says_what_is_missing_to_show_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("durable.cli.demo")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["demo", "--dsn", "postgresql://127.0.0.1:1/nowhere"]) == 1
    assert "durable-flows[cli]" in capsys.readouterr().err


def test_the_demo_refuses_more_runs_than_it_has_records(capsys: pytest.CaptureFixture[str], server_dsn: str) -> None:
    assert main(["demo", "--runs", "10001", "--dsn", server_dsn]) == 1
    assert "--runs" in capsys.readouterr().err
