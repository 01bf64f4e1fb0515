"""Which database a command works on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from durable.embedded import EmbeddedPostgres


@contextmanager
def database(dsn: str | None) -> Iterator[str]:
    """The given one, else ``$DURABLE_DATABASE_URL``, else the embedded server, which is said aloud."""
    chosen = dsn or os.environ.get("DURABLE_DATABASE_URL")
    if chosen:
        yield chosen
        return
    with EmbeddedPostgres() as server:
        print(f"using the embedded Postgres {server.version} in {server.directory}", file=sys.stderr)
        yield server.conninfo
