"""What the command says when it cannot do what it was asked for."""

from __future__ import annotations

import sys

import psycopg

from durable.core.errors import DurableError, shorten

_MAX_SHOWN = 8192


def say_refused(error: DurableError | psycopg.Error) -> int:
    """One line on stderr. Returns the exit status."""
    # Not the details that Postgres adds: they repeat the row, payloads included.
    text = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    print(f"durable: {printable(text or str(error))}", file=sys.stderr)
    return 1


def printable(text: str) -> str:
    """At most 8 KiB of it, what would steer a terminal written out: the text may be anybody's."""
    shown = "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text.strip())
    return shorten(shown, _MAX_SHOWN)
