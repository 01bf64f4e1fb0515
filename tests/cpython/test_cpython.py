"""What asyncio promises holds in workflow code too, by the tests that the interpreter itself is tested with."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.cpython.runner import TESTS

_HERE = Path(__file__).parent
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_MODULES = (
    "test_context",
    "test_eager_task_factory",
    "test_futures",
    "test_futures2",
    "test_locks",
    "test_pep492",
    "test_queues",
    "test_staggered",
    "test_taskgroups",
    "test_tasks",
    "test_timeouts",
    "test_waitfor",
)


def _refused(module: str) -> set[str]:
    entries = tomllib.loads((_HERE / "refused.toml").read_text())["refused"]
    return {
        test
        for entry in entries
        if _PYTHON in entry.get("pythons", [_PYTHON])
        for test in entry["tests"]
        if test.startswith(f"{module}.")
    }


def _outcomes(module: str, host: str, tmp_path: Path) -> dict[str, str]:
    if importlib.util.find_spec("test") is None or importlib.util.find_spec(TESTS) is None:
        pytest.skip("this Python was installed without the tests of its standard library")
    if importlib.util.find_spec(f"{TESTS}.{module}") is None:
        pytest.skip(f"Python {_PYTHON} has no {module}")
    written = tmp_path / "outcomes.json"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONASYNCIODEBUG"}
    command = [sys.executable, "-m", "tests.cpython.runner", module, str(written), host]
    done = subprocess.run(command, cwd=_HERE.parents[1], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, str] = json.loads(written.read_text())
    return outcomes


def _check(module: str, outcomes: dict[str, str]) -> None:
    refused = _refused(module)
    failed = {test for test, error in outcomes.items() if error}
    listed = {test for test in outcomes if any(fnmatchcase(test, pattern) for pattern in refused)}
    assert outcomes
    assert failed <= listed, "\n\n".join(f"{test}\n{outcomes[test]}" for test in sorted(failed - listed))
    assert listed <= failed, f"these pass now: take them off refused.toml: {sorted(listed - failed)}"
    unused = {pattern for pattern in refused if not any(fnmatchcase(test, pattern) for test in failed)}
    assert not unused, f"Python {_PYTHON} has no such tests: {sorted(unused)}"


@pytest.mark.parametrize("module", _MODULES)
def test_asyncio_s_own_tests_pass_but_for_those_that_are_refused(module: str, tmp_path: Path) -> None:
    _check(module, _outcomes(module, "asyncio", tmp_path))


@pytest.mark.parametrize("module", ["test_locks", "test_taskgroups", "test_timeouts"])
def test_they_pass_as_well_if_the_worker_s_loop_is_uvloop(module: str, tmp_path: Path) -> None:
    pytest.importorskip("uvloop")
    _check(module, _outcomes(module, "uvloop", tmp_path))
