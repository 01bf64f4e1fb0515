"""Every example prints what it says it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if "# Output:" in path.read_text())
MOST_LINES = 60


def expected_output(path: Path) -> list[str]:
    _, output = path.read_text().split("# Output:\n")
    return [line.removeprefix("# ") for line in output.splitlines()]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_its_output(path: Path, bare_database: str) -> None:
    environment = {**os.environ, "DURABLE_DATABASE_URL": bare_database, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected_output(path)


def test_the_examples_are_short_and_complete() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert names == {path.stem for path in EXAMPLES}
    for path in (ROOT / "examples").glob("*.py"):
        assert len(path.read_text().splitlines()) <= MOST_LINES, path
