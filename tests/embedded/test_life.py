"""One process and its server."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from durable.embedded import EmbeddedPostgres, EmbeddedPostgresError
from durable.embedded.directory import is_supervised
from tests.embedded.users import RECOVERED, SHUT_DOWN, eventually, is_gone, log_of, started_at, value


def test_a_server_starts_from_nothing_with_durable_settings(base: Path) -> None:
    with EmbeddedPostgres(base) as server:
        shown = {
            name: value(server.conninfo, f"SHOW {name}")
            for name in (
                "fsync",
                "synchronous_commit",
                "full_page_writes",
                "listen_addresses",
                "timezone",
                "server_encoding",
                "max_connections",
                "unix_socket_permissions",
            )
        }

        assert shown == {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "listen_addresses": "",
            "timezone": "UTC",
            "server_encoding": "UTF8",
            "max_connections": "200",
            "unix_socket_permissions": "0700",
        }
        assert str(value(server.conninfo, "SHOW server_version")).split()[0] == server.version
        assert value(server.conninfo, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
        assert base.stat().st_mode & 0o777 == 0o700
        assert server.directory == base


@pytest.mark.parametrize("name", ["base", "with space & ü%"])
def test_psycopg_and_sqlalchemy_read_where_the_server_is(base: Path, name: str) -> None:
    with EmbeddedPostgres(base.parent / name, fsync=False) as server:
        url = sqlalchemy.make_url(server.conninfo)
        for driver in ("psycopg", "psycopg2"):
            engine = sqlalchemy.create_engine(url.set(drivername=f"postgresql+{driver}"))
            with engine.connect() as connection:
                assert connection.execute(sqlalchemy.text("SHOW data_directory")).scalar() == str(
                    base.parent / name / "data"
                )
            engine.dispose()
        assert value(server.conninfo, "SELECT 1") == 1


def test_what_was_committed_is_there_after_a_restart(base: Path) -> None:
    with EmbeddedPostgres(base, fsync=False) as server, psycopg.connect(server.conninfo) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'Grüße' AS words")

    with EmbeddedPostgres(base, fsync=False) as server:
        assert value(server.conninfo, "SELECT words FROM kept") == "Grüße"
    assert RECOVERED not in log_of(base)


def test_the_last_to_stop_leaves_no_server_and_the_directory_can_be_removed_at_once(base: Path) -> None:
    with EmbeddedPostgres(base, fsync=False) as server:
        connection = psycopg.connect(server.conninfo)  # does not hold it up

    assert is_gone(base)
    assert SHUT_DOWN in log_of(base)
    shutil.rmtree(base)
    connection.close()


def test_a_second_user_joins_and_the_server_stays_for_it(base: Path) -> None:
    first, second = EmbeddedPostgres(base, fsync=False), EmbeddedPostgres(base, fsync=False)
    with first:
        with second:
            first.stop()
            assert started_at(second.conninfo) == started_at(first.conninfo)
            assert not is_gone(base)
    assert is_gone(base)


def test_a_joiner_needs_no_programs_and_finds_the_socket_whatever_its_environment(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = base / ("long" * 25)
    with EmbeddedPostgres(long, fsync=False) as first:
        monkeypatch.setenv("DURABLE_POSTGRES_BIN", "/nowhere")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        with EmbeddedPostgres(long, fsync=False) as second:
            assert second.conninfo == first.conninfo
            assert second.version == first.version


def test_starting_twice_and_stopping_twice_are_harmless(base: Path) -> None:
    server = EmbeddedPostgres(base, fsync=False)
    server.start().start()
    assert value(server.conninfo, "SELECT 1") == 1

    server.stop()
    server.stop()
    assert is_gone(base)


def test_no_descriptor_is_left_behind(base: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    with EmbeddedPostgres(base, fsync=False):
        pass
    before = descriptors()
    for _ in range(2):
        with EmbeddedPostgres(base, fsync=False):
            pass
        with pytest.raises(EmbeddedPostgresError):
            EmbeddedPostgres(base, binaries=Path("/nowhere")).start()

    assert descriptors() == before


def test_a_server_that_would_lose_commits_is_refused_to_those_who_asked_for_a_durable_one(base: Path) -> None:
    with EmbeddedPostgres(base, fsync=False) as loose:
        with pytest.raises(EmbeddedPostgresError, match="runs with fsync=False for another process"):
            EmbeddedPostgres(base).start()
        assert value(loose.conninfo, "SELECT 1") == 1
    with EmbeddedPostgres(base) as durable, EmbeddedPostgres(base, fsync=False) as loose:
        assert value(loose.conninfo, "SHOW fsync") == value(durable.conninfo, "SHOW fsync") == "on"


async def test_it_works_as_an_async_context_manager(base: Path) -> None:
    async with EmbeddedPostgres(base, fsync=False) as server:
        async with await psycopg.AsyncConnection.connect(server.conninfo) as connection:
            cursor = await connection.execute("SELECT 1")
            assert await cursor.fetchone() == (1,)
    assert is_gone(base)


async def test_a_start_that_is_cancelled_leaves_no_server(base: Path) -> None:
    async def use() -> None:
        async with EmbeddedPostgres(base, fsync=False):
            raise AssertionError("cancelled before")

    task = asyncio.create_task(use())
    while not (base / "lease").exists():
        await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_gone(base)


def test_an_interrupted_first_start_is_begun_anew(base: Path) -> None:
    base.mkdir()
    (base / "lease").touch()
    (base / "data.new").mkdir()
    (base / "data.new" / "PG_VERSION").write_text("half")

    with EmbeddedPostgres(base, fsync=False) as server:
        assert value(server.conninfo, "SELECT 1") == 1
        assert not (base / "data.new").exists()


def test_who_comes_while_it_shuts_down_gets_a_clean_new_one(base: Path) -> None:
    server = EmbeddedPostgres(base, fsync=False).start()
    first = started_at(server.conninfo)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    eventually(lambda: SHUT_DOWN in log_of(base) or "fast shutdown request" in log_of(base))

    with EmbeddedPostgres(base, fsync=False) as second:
        assert started_at(second.conninfo) != first
    stopping.join()
    assert RECOVERED not in log_of(base)
    assert not is_supervised(base)


def test_a_server_that_does_not_start_says_why_at_once(base: Path) -> None:
    with EmbeddedPostgres(base, fsync=False):
        pass
    with (base / "data" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")

    with pytest.raises(EmbeddedPostgresError, match=r"(?s)did not start.*log ends with:.*no_such_setting"):
        EmbeddedPostgres(base, fsync=False).start()
    assert not is_supervised(base)
