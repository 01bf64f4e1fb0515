from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from durable.embedded.directory import find_running
from tests.embedded.users import eventually


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """A directory for one server, whose parents are closed to other accounts; no server is left there."""
    yield tmp_path / "base"
    _clear(tmp_path)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """The same, where every account can come."""
    parent = Path(tempfile.mkdtemp(dir="/tmp", prefix="durable-test-"))
    parent.chmod(0o755)
    yield parent / "base"
    _clear(parent)
    shutil.rmtree(parent)


def _clear(parent: Path) -> None:
    for version in parent.rglob("PG_VERSION"):
        if version.parent.name != "data":
            continue
        running = find_running(version.parent)
        if running is not None:
            os.kill(running.process_id, signal.SIGINT)
            eventually(partial(_has_ended, version.parent))


def _has_ended(data: Path) -> bool:
    return find_running(data) is None
