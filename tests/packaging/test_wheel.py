"""What is installed from a wheel works without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from durable.store.migrations import migrations

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, so that both are complete."""
    target = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


def test_the_sdist_holds_what_a_packager_looks_for(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "LICENSE"} <= names
    assert "schema/schema.sql" in names


def test_the_wheel_holds_the_package_the_schema_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "durable/py.typed" in names
    assert "durable/_schema/migrations/0001_initial.sql" in names
    assert "durable/_schema/schema.sql" in names
    assert "durable/_schema/roles.sql" in names
    assert "durable/store/queries/claims/claim_runs.sql" in names
    assert "durable/cli/demo/birdstrikes.csv" in names
    assert not [name for name in names if not name.startswith(("durable/", "durable_flows-"))]
    kinds = {Path(name).suffix for name in names if name.startswith("durable/")}
    assert kinds == {".py", ".sql", ".csv", ".typed"}  # so no keys, certificates, settings or logs either
    assert not [name for name in names if "test" in Path(name).name]


def test_a_clean_environment_migrates_from_the_wheel(wheel: Path, tmp_path: Path, bare_database: str) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    install = [str(python), "-m", "pip", "install", "-q"]
    command = tmp_path / "venv" / "bin" / "durable"
    subprocess.run([*install, f"{wheel}[binary]"], check=True, cwd=tmp_path, env=environment)
    refused = subprocess.run(
        [command, "--help"], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "durable: the command line needs click: run `pip install 'durable-flows[cli]'`\n"
    subprocess.run([*install, f"{wheel}[binary,cli]"], check=True, cwd=tmp_path, env=environment)
    shown = subprocess.run(
        [command, "migrate", "--dsn", bare_database],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    applied = ", ".join(str(migration.version) for migration in migrations())
    expected = f"schema 'durable' has version {len(migrations())}: applied {applied}\n"
    assert (shown.returncode, shown.stdout) == (0, expected), shown.stderr
    imported = subprocess.run(
        [python, "-c", "import durable, sys; print('rich' in sys.modules, durable.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    assert imported.stdout.startswith("False ")
    assert str(tmp_path) in imported.stdout
