"""Looking at runs and steering them from the command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from durable import Client, Context, Cron, RunKey, Worker, workflow
from durable.cli import main
from durable.core.runs import TERMINAL

UNKNOWN = "greet_0:00000000-0000-4000-8000-000000000000"


@workflow
async def greet(ctx: Context, name: str) -> str:
    ctx.set_status({"greeting": name})
    return f"hello {await ctx.wait_for_event('go', 'go', str)}"


@workflow
async def fails(ctx: Context, name: str) -> str:
    raise ValueError(f"no {name} \x1b[31m")


class Shell:
    def __init__(self, dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._dsn = dsn
        self._capsys = capsys
        self.error = ""

    def __call__(self, *arguments: str, status: int = 0) -> str:
        assert main([*arguments, "--dsn", self._dsn]) == status, self._capsys.readouterr().err
        said = self._capsys.readouterr()
        self.error = said.err
        return said.out


@pytest.fixture
def shell(database: str, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(database, capsys)


def work(dsn: str, run_key: RunKey | str, timeout: float = 20) -> None:
    """Has a worker execute until that run has ended, or waits for an event."""

    async def until_quiet() -> None:
        async with Worker(dsn, [greet, fails]):
            with Client(dsn) as client:
                deadline = time.monotonic() + timeout
                while client.get_run_info(run_key).status not in {"waiting_event", *TERMINAL}:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.01)

    asyncio.run(until_quiet())


def work_once(dsn: str) -> None:
    """Has a worker route what was requested."""

    asyncio.run(Worker(dsn, [greet, fails]).process_one())


def test_runs_are_listed_newest_first_in_each_form(shell: Shell, database: str) -> None:
    with Client(database) as client:
        keys = [client.begin(greet, "x", key=f"k{number}", tags={"tenant": "9"}).run_key for number in range(3)]
    table = shell("runs", "list").splitlines()
    assert table[0].split()[:3] == ["RUN", "STATUS", "KEY"]
    assert [line.split()[0] for line in table[1:]] == [str(key) for key in reversed(keys)]
    assert "tenant=9" in table[1]
    page = json.loads(shell("runs", "list", "-o", "json", "--limit", "2"))
    assert page["form"] == "durable/runs/1"
    assert [item["run_key"] for item in page["items"]] == [str(keys[2]), str(keys[1])]
    rest = shell("runs", "list", "-o", "jsonl", "--before", str(keys[1])).splitlines()
    assert [json.loads(line)["key"] for line in rest] == ["k0"]


def test_nothing_found_is_said_to_people_and_is_an_empty_list_for_programs(shell: Shell) -> None:
    assert shell("runs", "list") == ""
    assert shell.error == "no such runs\n"
    assert json.loads(shell("runs", "list", "-o", "json"))["items"] == []
    assert shell("runs", "list", "-o", "jsonl") == ""


def test_a_failed_run_is_shown_without_control_characters_or_payloads(shell: Shell, database: str) -> None:
    with Client(database) as client:
        run_key = client.begin(fails, "money").run_key
    work(database, run_key)
    shown = shell("runs", "show", str(run_key))
    assert "failed" in shown
    assert "ValueError: no money \\x1b[31m" in shown
    assert "Traceback" not in shown
    assert "Traceback" in shell("runs", "show", str(run_key), "--traceback")
    assert json.loads(shell("runs", "show", str(run_key), "-o", "json"))["error"]["type"] == "ValueError"


def test_the_status_that_a_workflow_has_set_is_a_payload(shell: Shell, database: str) -> None:
    with Client(database) as client:
        run_key = client.begin(greet, "x").run_key
    work(database, run_key)
    assert "greeting" not in shell("runs", "show", str(run_key))
    assert "greeting" in shell("runs", "show", str(run_key), "--payloads")


def test_a_run_that_does_not_exist_has_an_exit_status_of_its_own(shell: Shell) -> None:
    for verb in (["show"], ["tail"], ["cancel"], ["terminate"], ["pause"], ["resume"], ["retry"]):
        shell("runs", *verb, UNKNOWN, status=3)
        assert "there is no run" in shell.error
    shell("runs", "show", "nonsense", status=1)
    assert "run_key must be" in shell.error


def test_an_event_lets_a_run_go_on_and_tail_tells_how_it_ends(shell: Shell, database: str) -> None:
    with Client(database) as client:
        run_key = str(client.begin(greet, "x").run_key)
    assert "waited" not in shell("runs", "tail", run_key, "--timeout", "0", status=4)
    assert shell("events", "publish", run_key, "go", '"you"', "--key", "once") == f"published 'go' to {run_key}\n"
    assert "was there already" in shell("events", "publish", run_key, "go", "--key", "once", status=4)
    work(database, run_key)
    assert "completed" in shell("runs", "tail", run_key)
    shell("events", "publish", run_key, "go", "{", status=1)
    assert "PAYLOAD must be JSON" in shell.error


def test_runs_are_cancelled_and_retried_by_their_keys(shell: Shell, database: str) -> None:
    with Client(database) as client:
        run_keys = [str(client.begin(greet, "x").run_key) for _ in range(2)]
        assert shell("runs", "cancel", *run_keys, "--reason", "maintenance").count("requested the cancel of") == 2
        work(database, run_keys[0])
        work(database, run_keys[1])
        assert "cancelled" in shell("runs", "tail", run_keys[0], status=4)
        assert "maintenance" in shell("runs", "show", run_keys[0])
        shell("runs", "cancel", run_keys[0], status=1)
        shell("runs", "pause", run_keys[0], status=1)
        assert "has already ended" in shell.error
        shell("runs", "retry", run_keys[0])
        assert client.get_run_info(run_keys[0]).status == "queued"


def test_runs_are_paused_and_resumed(shell: Shell, database: str) -> None:
    with Client(database) as client:
        run_key = str(client.begin(greet, "x", delay=3600).run_key)
        shell("runs", "resume", run_key, status=1)
        assert "is not paused" in shell.error
        assert shell("runs", "pause", run_key, "--reason", "later") == f"requested the pause of {run_key}\n"
        work_once(database)
        assert run_key in shell("runs", "list", "--status", "paused")
        assert "It has been paused for" in shell("why", run_key)
        shell("runs", "resume", run_key)
        work_once(database)
        assert run_key in shell("runs", "list", "--status", "sleeping")


def test_a_run_goes_on_at_another_time(shell: Shell, database: str) -> None:
    with Client(database) as client:
        handle = client.begin(greet, "x", delay=3600)
        run_key = str(handle.run_key)
        shell("runs", "reschedule", run_key, "--at", "2100-01-01T00:00Z")
        work_once(database)
        assert str(handle.info().next_wake_at) == "2100-01-01 00:00:00+00:00"
        shell("runs", "run-now", run_key)
        work_once(database)
        work(database, run_key)
        assert handle.info().status == "waiting_event"
        handle.terminate()
        work_once(database)
    shell("runs", "run-now", run_key, "--sleeps", status=1)
    assert "has no time that can be changed" in shell.error
    for wrong in (["--at", "2100-01-01"], [], ["--delay", "1", "--at", "2100-01-01T00:00Z"]):
        shell("runs", "reschedule", run_key, *wrong, status=1)


def test_workflows_are_paused_and_resumed(shell: Shell) -> None:
    assert shell("workflows", "pause", "greet", "--reason", "maintenance") == "paused greet\n"
    assert shell("workflows", "pause", "greet") == "greet was paused already\n"
    assert "maintenance" in shell("workflows", "paused")
    told = json.loads(shell("workflows", "paused", "-o", "json"))
    assert [item["workflow_name"] for item in told["items"]] == ["greet"]
    assert shell("workflows", "resume", "greet") == "resumed greet\n"
    assert shell("workflows", "resume", "greet") == "greet was not paused\n"
    assert shell("workflows", "paused") == ""


def test_schedules_are_steered(shell: Shell, database: str) -> None:
    with Client(database) as client:
        client.schedule(greet, "x", "hourly", Cron("30 * * * *"))
    assert "hourly" in shell("schedules", "list")
    ticks = shell("schedules", "next", "hourly", "-n", "3").splitlines()
    assert len(ticks) == 3
    assert ticks == sorted(ticks)
    shell("schedules", "pause", "hourly")
    assert "paused" in shell("schedules", "list")
    shell("schedules", "resume", "hourly")
    assert RunKey.parse(shell("schedules", "trigger", "hourly").strip()).workflow_name == "greet"
    end = datetime.now(UTC) - timedelta(hours=1)
    period = ["--from", (end - timedelta(hours=3)).isoformat(), "--to", end.isoformat()]
    assert len(shell("schedules", "backfill", "hourly", *period).splitlines()) == 3
    shell("schedules", "backfill", "hourly", "--from", "yesterday", "--to", end.isoformat(), status=1)
    assert "--from must be a moment with its zone" in shell.error
    shell("schedules", "delete", "hourly")
    for verb in ("next", "pause", "resume", "trigger", "delete"):
        shell("schedules", verb, "hourly", status=3)


def test_a_profile_names_a_database(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(f'[here]\ndsn = "{database}"\n')
    monkeypatch.setenv("DURABLE_PROFILES", str(profiles))
    monkeypatch.setenv("DURABLE_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    assert main(["runs", "list", "--profile", "here", "-o", "json"]) == 0
    assert main(["runs", "list", "--profile", "there"]) == 1
    assert "which has: here" in capsys.readouterr().err
    monkeypatch.setenv("DURABLE_PROFILE", "here")
    assert main(["schedules", "list"]) == 0
    profiles.write_text("[here]\ndns = 1\n")
    assert main(["schedules", "list"]) == 1
    assert "which is not valid" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nonsense"], ["runs"], ["runs", "list", "--limit", "0"], ["runs", "show"]])
def test_wrong_usage_is_told_apart(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell_name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell_name]) == 0
    assert "_DURABLE_COMPLETE" in capsys.readouterr().out


def test_help_imports_neither_the_worker_nor_the_database() -> None:
    code = "import sys; from durable.cli import main; main(['--help']); print(sorted(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'durable.cli.worker'" not in shown
    assert "'rich'" not in shown


def test_the_page_about_the_command_line_is_what_it_is() -> None:
    page = [sys.executable, ".ci/cli_page.py", "--check"]
    checked = subprocess.run(page, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
