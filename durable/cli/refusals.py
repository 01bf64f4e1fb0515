"""What the command prints when it cannot do what it was asked to do."""

from __future__ import annotations

import sys

import psycopg

from durable.core.errors import DurableError, shorten

_MAX_SHOWN = 8192


def say_refused(error: DurableError | psycopg.Error) -> int:
    """Prints the error on stderr. Returns the exit status."""
    # Without the details that Postgres adds, because they repeat the row, payloads included.
    text = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    print(f"durable: {printable(text or str(error))}", file=sys.stderr)
    return 1


def printable(text: str) -> str:
    """Returns at most 8 KiB of the text, with characters that control a terminal escaped: the text may come from
    anyone."""
    shown = "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text.strip())
    return shorten(shown, _MAX_SHOWN)
