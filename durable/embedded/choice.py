"""Chooses the database that a command or an example works on."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

from durable.embedded.server import EmbeddedPostgres
from durable.postgres.conninfo import check_conninfo


def named(dsn: str | None = None) -> str | None:
    """Returns the given database, else that of ``$DURABLE_DATABASE_URL``, else ``None``, which means that the embedded
    server will be used. Raises ``InvalidArgument`` for anything that is not a connection string."""
    chosen = dsn or os.environ.get("DURABLE_DATABASE_URL") or None
    return None if chosen is None else check_conninfo("--dsn" if dsn else "DURABLE_DATABASE_URL", chosen)


@contextmanager
def database(dsn: str | None = None) -> Generator[str]:
    """Yields the conninfo of the given database, else of ``$DURABLE_DATABASE_URL``, else of the embedded server, which
    is started, announced on stderr, and released at the end of the block. That of the embedded server is a URL,
    ``postgresql://…``, which SQLAlchemy reads as well."""
    chosen = named(dsn)
    if chosen is not None:
        yield chosen
        return
    with EmbeddedPostgres() as server:
        print(f"using the embedded Postgres {server.version} in {server.directory}", file=sys.stderr)
        yield server.conninfo
