"""PgBouncer before a server, in transaction mode unless told otherwise; as a program it runs a command on an embedded
server behind one: `python -m tests.pooler pytest tests/worker`, which finds it in DURABLE_TEST_DSN."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durable.embedded import EmbeddedPostgres

_START_SECONDS = 10.0


def find_pgbouncer() -> str | None:
    """Its path, ``None`` where it is not installed."""
    return shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


@contextmanager
def pooler(dsn: str, pool_mode: str = "transaction") -> Iterator[str]:
    """A conninfo that leads to the databases of that server through a pooler."""
    binary = find_pgbouncer()
    if binary is None:
        raise RuntimeError("there is no pgbouncer here: install it (Debian: apt-get install pgbouncer)")
    server = conninfo_to_dict(dsn)
    host, port = str(server.get("host") or "localhost"), str(server.get("port") or 5432)
    # It refuses to run as root, and must reach the server's private socket: so it runs as the server does.
    owner = os.stat(host).st_uid if host.startswith("/") else os.getuid()
    with tempfile.TemporaryDirectory(prefix="pooler-") as directory:
        os.chmod(directory, 0o755)
        own_port = _free_port()
        (Path(directory) / "users").write_text('"postgres" ""\n')
        settings = Path(directory) / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={host} port={port}\n"
            f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={own_port}\nunix_socket_dir=\n"
            f"auth_type=trust\nauth_file={directory}/users\npool_mode={pool_mode}\n"
            "max_client_conn=500\ndefault_pool_size=40\nserver_idle_timeout=5\nlog_connections=0\nlog_disconnections=0\n"
        )
        # A server of root's runs in a user namespace in which root is nobody.
        namespace = ["unshare", "--user", "--map-user=65534", "--map-group=65534"] if owner == 0 else []
        process = subprocess.Popen([*namespace, binary, "-q", str(settings)], user=owner)
        conninfo = make_conninfo(dsn, host="127.0.0.1", hostaddr="127.0.0.1", port=own_port, user="postgres")
        try:
            _wait_for(conninfo, process)
            yield conninfo
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(conninfo: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(conninfo).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def pooled_server(pool_mode: str = "transaction") -> Iterator[tuple[str, str]]:
    """The conninfo of an embedded server, and one that leads to it through a pooler."""
    # In a place that the account the server runs as can reach, so that the pooler can run as the same.
    with (
        tempfile.TemporaryDirectory(prefix="pooled-", dir="/tmp") as directory,
        EmbeddedPostgres(Path(directory), fsync=False) as server,
        pooler(server.conninfo, pool_mode) as conninfo,
    ):
        yield server.conninfo, conninfo


def main(command: list[str]) -> int:
    """Returns the command's exit status."""
    with pooled_server() as (_, conninfo):
        return subprocess.run(command, env={**os.environ, "DURABLE_TEST_DSN": conninfo}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
