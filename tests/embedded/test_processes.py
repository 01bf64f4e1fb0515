"""Several processes share one server, and die in every way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from durable.embedded import EmbeddedPostgres
from durable.embedded.directory import is_supervised
from tests.embedded.users import (
    RECOVERED,
    SHUT_DOWN,
    User,
    eventually,
    is_gone,
    log_of,
    parent_of,
    server_process,
    started_at,
    value,
)


def test_four_processes_that_start_at_once_share_one_server(base: Path) -> None:
    users = [User(base) for _ in range(4)]
    servers = {started_at(user.conninfo()) for user in users}

    assert len(servers) == 1
    assert [user.leave() for user in users] == [""] * 4
    assert is_gone(base)


def test_a_killed_user_leaves_the_server_to_the_other(base: Path) -> None:
    killed, other = User(base), User(base)
    conninfo = other.conninfo()
    assert killed.conninfo() == conninfo
    before = started_at(conninfo)

    killed.kill()

    assert started_at(conninfo) == before
    other.leave()
    assert is_gone(base)


def test_when_all_users_are_killed_the_server_shuts_down_cleanly(base: Path) -> None:
    users = [User(base), User(base)]
    conninfo, _ = (user.conninfo() for user in users)
    value(conninfo, "SELECT pg_switch_wal()")

    for user in users:
        user.kill()

    eventually(lambda: is_gone(base))
    assert log_of(base).count(SHUT_DOWN) == 1
    with EmbeddedPostgres(base, fsync=False):
        assert RECOVERED not in log_of(base)


def test_the_terminal_s_interrupt_ends_neither_supervisor_nor_server(base: Path) -> None:
    with EmbeddedPostgres(base, fsync=False) as server:
        process = server_process(base)
        supervisor = parent_of(process)
        assert {os.getsid(process), os.getsid(supervisor)}.isdisjoint({os.getsid(0)})

        os.kill(supervisor, signal.SIGINT)
        os.kill(supervisor, signal.SIGTERM)

        assert is_supervised(base)
        assert value(server.conninfo, "SELECT 1") == 1


def test_a_server_that_was_killed_is_started_again(base: Path) -> None:
    with EmbeddedPostgres(base, fsync=False) as server:
        os.kill(server_process(base), signal.SIGKILL)
        eventually(lambda: not is_supervised(base))

        server.start()

        assert value(server.conninfo, "SELECT 1") == 1
        assert RECOVERED in log_of(base)
    assert is_gone(base)


def test_without_its_supervisor_the_server_goes_on_and_the_next_start_adopts_it(base: Path) -> None:
    with EmbeddedPostgres(base, fsync=False) as server:
        before = started_at(server.conninfo)
        _kill_supervisor(base)
        assert started_at(server.conninfo) == before

        user = User(base)

        assert started_at(user.conninfo()) == before
        assert is_supervised(base)
        server.stop()
        user.kill()
        eventually(lambda: is_gone(base))
    assert SHUT_DOWN in log_of(base)


def test_without_its_supervisor_the_server_ends_with_the_last_user_that_stops(base: Path) -> None:
    with EmbeddedPostgres(base, fsync=False):
        _kill_supervisor(base)
    assert is_gone(base)
    assert SHUT_DOWN in log_of(base)


def test_a_server_left_by_the_death_of_all_is_ended_by_the_next_user(base: Path) -> None:
    user = User(base)
    before = started_at(user.conninfo())
    _kill_supervisor(base)
    user.kill()

    with EmbeddedPostgres(base, fsync=False) as server:
        assert started_at(server.conninfo) == before
    assert is_gone(base)
    assert RECOVERED not in log_of(base)


def _kill_supervisor(base: Path) -> None:
    os.kill(parent_of(server_process(base)), signal.SIGKILL)
    eventually(lambda: not is_supervised(base))
