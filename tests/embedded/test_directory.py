"""Odd paths, left-over files and foreign directories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable.embedded import EmbeddedPostgres, EmbeddedPostgresError, default_directory
from tests.embedded.users import is_gone, server_process, value


@pytest.fixture
def foreign_program() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as program:
        yield program
        program.kill()


@pytest.mark.parametrize("name", ["with space", "a,b", "all 'the=\\y\"ü rest "])
def test_any_name_of_a_directory_works(base: Path, name: str) -> None:
    with EmbeddedPostgres(base / name, fsync=False) as server:
        assert value(server.conninfo, "SHOW data_directory") == str(base / name / "data")
    assert is_gone(base / name)


def test_a_path_too_long_for_a_socket_uses_a_private_short_one(base: Path) -> None:
    long = base / ("long" * 25)
    with EmbeddedPostgres(long, fsync=False) as server:
        sockets = Path(str(value(server.conninfo, "SHOW unix_socket_directories")).strip('"'))
        assert not sockets.is_relative_to(base)
        assert sockets.stat().st_mode & 0o777 == 0o700

    assert is_gone(long)
    assert not sockets.exists()


def test_the_short_directory_is_refused_if_it_is_open_to_others(
    base: Path, reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = base / ("long" * 25)
    reachable.mkdir(mode=0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(reachable))
    with EmbeddedPostgres(long, fsync=False) as server:
        sockets = Path(str(value(server.conninfo, "SHOW unix_socket_directories")).strip('"'))
    assert sockets.parent == reachable
    sockets.mkdir()
    sockets.chmod(0o777)

    with pytest.raises(EmbeddedPostgresError, match="open to others; remove it"):
        EmbeddedPostgres(long, fsync=False).start()


def test_left_over_lock_files_that_name_a_living_foreign_program_are_seen_through(
    base: Path, foreign_program: subprocess.Popen[bytes]
) -> None:
    with EmbeddedPostgres(base, fsync=False):
        lines = (base / "data" / "postmaster.pid").read_text().split("\n")
        socket_lines = (base / ".s.PGSQL.5432.lock").read_text().split("\n")
    own = str(foreign_program.pid)
    (base / "data" / "postmaster.pid").write_text("\n".join([own, *lines[1:]]))
    (base / ".s.PGSQL.5432.lock").write_text("\n".join([own, *socket_lines[1:]]))

    with EmbeddedPostgres(base, fsync=False) as server:
        assert value(server.conninfo, "SELECT 1") == 1
        assert server_process(base) != foreign_program.pid
    assert is_gone(base)
    assert foreign_program.poll() is None


def test_a_directory_that_holds_something_else_is_left_alone(base: Path) -> None:
    base.mkdir(mode=0o755)
    (base / "thesis.txt").touch()
    before = base.stat()

    with pytest.raises(EmbeddedPostgresError, match=r"contains thesis.txt. Choose an empty or a new directory"):
        EmbeddedPostgres(base).start()
    assert os.listdir(base) == ["thesis.txt"]
    assert (base.stat().st_mode, base.stat().st_uid) == (before.st_mode, before.st_uid)


def test_an_empty_directory_is_closed_to_others_before_it_is_used(base: Path) -> None:
    base.mkdir()
    base.chmod(0o777)
    with EmbeddedPostgres(base, fsync=False):
        assert base.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_directory_with_contents_that_others_may_write_is_refused_each_time(base: Path, mode: int) -> None:
    with EmbeddedPostgres(base, fsync=False):
        pass
    base.chmod(mode)
    for _ in range(2):
        with pytest.raises(EmbeddedPostgresError, match=r"is writable for other users.*chmod go-w"):
            EmbeddedPostgres(base, fsync=False).start()
    base.chmod(mode & ~0o022)
    with EmbeddedPostgres(base, fsync=False) as server:
        assert value(server.conninfo, "SELECT 1") == 1


def test_what_is_no_directory_is_refused_with_advice(base: Path) -> None:
    base.write_text("a file")
    with pytest.raises(EmbeddedPostgresError, match=r"cannot be used for a server.*DURABLE_EMBEDDED_DIR"):
        EmbeddedPostgres(base).start()


def test_the_default_directory_is_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DURABLE_EMBEDDED_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert EmbeddedPostgres().directory == tmp_path / "durable" / "postgres"

    monkeypatch.setenv("DURABLE_EMBEDDED_DIR", str(tmp_path / "chosen"))
    assert default_directory() == tmp_path / "chosen"
