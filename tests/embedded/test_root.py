"""Root's server runs as somebody else: no account is made, no directory opened."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable.embedded import EmbeddedPostgres, EmbeddedPostgresError, default_directory
from durable.embedded.binaries import find_binaries
from tests.embedded.users import is_gone, server_process, value

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to step down")

_NAMESPACE = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "true"]
needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(_NAMESPACE, capture_output=True, check=False).returncode != 0,
    reason="no user namespaces here",
)


@pytest.fixture
def no_namespaces(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that forbids them: the program to make one is not to be had."""
    programs = reachable.parent / "programs"
    programs.mkdir()
    for program in ("ls", "ps"):
        (programs / program).symlink_to(f"/bin/{program}")
    monkeypatch.setenv("PATH", str(programs))


def copy_of_the_programs(place: Path, mode: int) -> Path:
    found = find_binaries(None, None).directory
    package = found.parents[1]
    shutil.copytree(package, place / package.name, symlinks=True)
    libraries = package.with_name(package.name + ".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, place / libraries.name, symlinks=True)
    place.chmod(mode)
    return place / found.relative_to(package.parent)


@pytest.fixture
def closed_binaries(tmp_path: Path) -> Iterator[Path]:
    """The programs where only root can come, as in an environment in root's home."""
    yield copy_of_the_programs(tmp_path / "closed", 0o700)
    shutil.rmtree(tmp_path / "closed")


@pytest.fixture
def open_binaries(reachable: Path) -> Path:
    """The programs where everybody can come, wherever the environment of the tests is."""
    return copy_of_the_programs(reachable.parent / "open", 0o755)


@pytest.fixture(autouse=True)
def _no_account_is_made() -> Iterator[None]:
    before = Path("/etc/passwd").read_bytes()
    yield
    assert Path("/etc/passwd").read_bytes() == before


def account() -> int:
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres", names["nobody"])


def owner_of_server(base: Path) -> int:
    return os.stat(f"/proc/{server_process(base)}").st_uid


def modes(path: Path) -> list[tuple[int, int]]:
    return [(parent.stat().st_mode, parent.stat().st_uid) for parent in path.parents]


def test_where_an_account_can_come_it_runs_the_server(reachable: Path, open_binaries: Path) -> None:
    before = modes(reachable)
    with EmbeddedPostgres(reachable, fsync=False, binaries=open_binaries) as server:
        assert value(server.conninfo, "SELECT 1") == 1
        assert owner_of_server(reachable) == account()
        assert reachable.stat().st_uid == account()
    assert modes(reachable) == before
    assert is_gone(reachable)


@needs_namespaces
def test_in_a_closed_home_root_runs_it_as_nobody_of_a_namespace(base: Path, closed_binaries: Path) -> None:
    base.parent.chmod(0o700)
    before = modes(base)
    with EmbeddedPostgres(base, fsync=False, binaries=closed_binaries) as server:
        assert value(server.conninfo, "SELECT 1") == 1
        assert owner_of_server(base) == 0
        assert base.stat().st_uid == 0
    assert modes(base) == before
    assert is_gone(base)


@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_closed_programs_are_copied_once(
    reachable: Path, closed_binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = reachable.parent / "copies"
    copies.mkdir()
    copies.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(copies))
    for _ in range(2):
        with EmbeddedPostgres(reachable, fsync=False, binaries=closed_binaries) as server:
            assert value(server.conninfo, "SELECT 1") == 1
            assert owner_of_server(reachable) == account()
            assert Path(os.readlink(f"/proc/{server_process(reachable)}/exe")).is_relative_to(copies)
    assert len(list(copies.iterdir())) == 1
    assert is_gone(reachable)


@pytest.mark.usefixtures("no_namespaces")
def test_where_nothing_helps_the_error_says_what_does(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(base.parent))
    base.parent.chmod(0o700)
    with pytest.raises(EmbeddedPostgresError, match=r"does not run as root.*DURABLE_EMBEDDED_DIR=/var/lib"):
        EmbeddedPostgres(base, fsync=False).start()
    assert base.stat().st_uid == 0
    assert not list(base.parent.glob("durable-postgres-*"))


def test_data_are_served_by_whoever_wrote_them(reachable: Path, open_binaries: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    with EmbeddedPostgres(reachable, fsync=False, binaries=open_binaries):
        pass
    subprocess.run(["chown", "-R", f"{nobody.pw_uid}:{nobody.pw_gid}", str(reachable)], check=True)

    with EmbeddedPostgres(reachable, fsync=False, binaries=open_binaries):
        assert owner_of_server(reachable) == nobody.pw_uid


def test_the_directory_of_another_user_is_refused_and_left_alone(reachable: Path) -> None:
    reachable.mkdir(mode=0o700)
    os.chown(reachable, 12345, 12345)
    for contents in ([], ["lease", "data"]):
        for name in contents:
            (reachable / name).touch()
        with pytest.raises(EmbeddedPostgresError, match=r"belongs to another user \(user id 12345\)"):
            EmbeddedPostgres(reachable, fsync=False).start()
    assert reachable.stat().st_uid == 12345
    assert sorted(os.listdir(reachable)) == ["data", "lease"]


def test_the_log_is_never_written_through_a_link_of_the_account(reachable: Path) -> None:
    with EmbeddedPostgres(reachable, fsync=False):
        pass
    target = reachable.parent / "target"
    target.write_text("root's")
    (reachable / "log").unlink()
    (reachable / "log").symlink_to(target)

    with pytest.raises(EmbeddedPostgresError, match="cannot be used"):
        EmbeddedPostgres(reachable, fsync=False).start()
    assert target.read_text() == "root's"


@pytest.mark.usefixtures("no_namespaces")
def test_the_default_directory_of_root_is_one_that_can_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DURABLE_EMBEDDED_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    tmp_path.chmod(0o700)
    assert default_directory() == Path("/var/lib/durable/postgres")

    (tmp_path / ".local" / "share" / "durable" / "postgres" / "data").mkdir(parents=True)
    assert default_directory() == tmp_path / ".local" / "share" / "durable" / "postgres"
